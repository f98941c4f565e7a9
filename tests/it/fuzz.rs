//! The properties of the fuzz targets, checked with their seeds and with all earlier findings.

use std::path::Path;

// The targets define the properties once; fuzz/run checks them with inputs that libFuzzer makes.
#[path = "../../fuzz/src/lib.rs"]
mod properties;

#[test]
fn every_seed_satisfies_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, holds) in properties::TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(seeds.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(inputs.len() > 2, "{name} has too few seeds");
        for input in inputs {
            // A failing test shows its output, so the last name is the failing input.
            println!("{}", input.display());
            holds(&std::fs::read(&input).unwrap());
        }
    }
    let listed = std::fs::read_dir(&seeds).unwrap().count();
    assert_eq!(listed, properties::TARGETS.len(), "a folder of seeds that no target reads");
}
