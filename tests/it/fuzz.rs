//! What must hold of any input, asked of the inputs that the fuzz targets start from and of whatever they have found.

use std::path::Path;

// The one place where the targets say what must hold; fuzz/run asks it of inputs without number.
#[path = "../../fuzz/src/lib.rs"]
mod properties;

#[test]
fn every_seed_and_every_finding_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, holds) in properties::TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 2, "{name} starts from nothing");
        for input in inputs {
            // What is printed is shown when it does not hold.
            println!("{}", input.display());
            holds(&std::fs::read(&input).unwrap());
        }
    }
    let listed = std::fs::read_dir(&seeds).unwrap().count();
    assert_eq!(listed, properties::TARGETS.len(), "a folder of seeds that no target reads");
}
