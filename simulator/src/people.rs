//! Invented people: the same seed always gives the same people, so that a run can be repeated with
//! the same result.

use std::collections::HashSet;

use uuid::Uuid;

/// The domain of every invented address; `.example` is reserved (RFC 2606), so that no mail can
/// reach a real person.
const DOMAIN: &str = "stmary.example";

/// Given names as people write them, and as their address spells them.
const GIVEN: [(&str, &str); 44] = [
    ("Amina", "amina"),
    ("Zoë", "zoe"),
    ("Kwame", "kwame"),
    ("Ngọc", "ngoc"),
    ("Siobhán", "siobhan"),
    ("Mateo", "mateo"),
    ("Ayşe", "ayse"),
    ("Łukasz", "lukasz"),
    ("Priya", "priya"),
    ("Tāne", "tane"),
    ("Ingrid", "ingrid"),
    ("Yusuf", "yusuf"),
    ("Mei", "mei"),
    ("Björn", "bjorn"),
    ("Fatou", "fatou"),
    ("Ji-woo", "jiwoo"),
    ("Oksana", "oksana"),
    ("Renée", "renee"),
    ("Tariq", "tariq"),
    ("Leilani", "leilani"),
    ("João", "joao"),
    ("Haruka", "haruka"),
    ("Nomvula", "nomvula"),
    ("Čedomir", "cedomir"),
    ("Esther", "esther"),
    ("Rahul", "rahul"),
    ("Sofía", "sofia"),
    ("Dariusz", "dariusz"),
    ("Aroha", "aroha"),
    ("Michael", "michael"),
    ("Chidi", "chidi"),
    ("Søren", "soren"),
    ("Noor", "noor"),
    ("Tomáš", "tomas"),
    ("Wanjiru", "wanjiru"),
    ("Hyun", "hyun"),
    ("Grace", "grace"),
    ("Elif", "elif"),
    ("Pavlos", "pavlos"),
    ("Ana", "ana"),
    ("Kofi", "kofi"),
    ("Margit", "margit"),
    ("Dewi", "dewi"),
    ("Samuel", "samuel"),
];

/// Family names, in the same form.
const FAMILY: [(&str, &str); 44] = [
    ("Okafor", "okafor"),
    ("Nguyễn", "nguyen"),
    ("O'Connor", "oconnor"),
    ("García", "garcia"),
    ("Yılmaz", "yilmaz"),
    ("Wójcik", "wojcik"),
    ("Sharma", "sharma"),
    ("Jørgensen", "jorgensen"),
    ("Müller", "mueller"),
    ("Tanaka", "tanaka"),
    ("Mensah", "mensah"),
    ("Dvořák", "dvorak"),
    ("Haddad", "haddad"),
    ("van den Berg", "vandenberg"),
    ("Kim", "kim"),
    ("Silva", "silva"),
    ("Novák", "novak"),
    ("Diallo", "diallo"),
    ("Parata", "parata"),
    ("Petrov", "petrov"),
    ("Papadopoulos", "papadopoulos"),
    ("Mbeki", "mbeki"),
    ("Lindqvist", "lindqvist"),
    ("Chen", "chen"),
    ("Rossi", "rossi"),
    ("Kovács", "kovacs"),
    ("Adeyemi", "adeyemi"),
    ("Kamau", "kamau"),
    ("Dubois", "dubois"),
    ("Ferreira", "ferreira"),
    ("Ahmed", "ahmed"),
    ("Smith", "smith"),
    ("Kealoha", "kealoha"),
    ("Šimić", "simic"),
    ("Rahman", "rahman"),
    ("Johnson", "johnson"),
    ("Wijaya", "wijaya"),
    ("Cohen", "cohen"),
    ("Begum", "begum"),
    ("Andersson", "andersson"),
    ("Murphy", "murphy"),
    ("Patel", "patel"),
    ("Santos", "santos"),
    ("Ivanova", "ivanova"),
];

const WARDS: [&str; 12] = [
    "Cardiology",
    "Emergency",
    "Maternity",
    "Paediatrics",
    "Oncology",
    "Intensive Care",
    "Orthopaedics",
    "Neurology",
    "Geriatrics",
    "Surgery",
    "Renal",
    "Outpatients",
];

/// The data that the hospital's personnel system has about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedPerson {
    pub given_name: String,
    pub family_name: String,
    /// The sign-in name, which is also the work e-mail address.
    pub user_name: String,
    /// The identity provider's own id of this person.
    pub external_id: String,
    pub employee_number: String,
    pub title: &'static str,
    /// The ward, by name.
    pub department: &'static str,
    /// The id that the *server* gave to the account of the manager.
    pub manager: Option<String>,
}

impl SimulatedPerson {
    /// The full name.
    pub fn display_name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }
}

/// The wards of a hospital with this many nurses: about twenty nurses in a ward, and at least two
/// wards, so that a nurse can move.
pub fn ward_names(users: usize) -> &'static [&'static str] {
    let count = users.div_ceil(20).clamp(2, WARDS.len());
    WARDS.get(..count).unwrap_or(&WARDS)
}

/// The form of the ids that an identity provider gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalIds {
    Guid,
    /// `00u` and seventeen letters and digits.
    Okta,
    /// So many digits.
    Digits(usize),
}

/// Invents people, one after another, and never the same userName twice.
pub struct PersonGenerator {
    dice: RandomNumbers,
    ids: ExternalIds,
    taken: HashSet<String>,
    hired: usize,
}

impl PersonGenerator {
    /// The generator of the people of this seed.
    pub fn new(seed: u64, ids: ExternalIds) -> Self {
        Self { dice: RandomNumbers(seed), ids, taken: HashSet::new(), hired: 0 }
    }

    /// The next person, who works in this ward.
    pub fn next_person(
        &mut self,
        department: &'static str,
        title: &'static str,
    ) -> SimulatedPerson {
        let (given_name, given) = self.dice.pick_item(&GIVEN);
        let (family_name, family) = self.dice.pick_item(&FAMILY);
        let mut local = format!("{given}.{family}");
        let mut namesake = 1;
        while !self.taken.insert(local.clone()) {
            // The search for a free number begins at an estimate: beginning at 2 would need
            // quadratic time for many people.
            namesake = if namesake == 1 {
                2 + self.hired / (GIVEN.len() * FAMILY.len())
            } else {
                namesake + 1
            };
            local = format!("{given}.{family}{namesake}");
        }
        self.hired += 1;
        SimulatedPerson {
            given_name: given_name.to_owned(),
            family_name: family_name.to_owned(),
            user_name: format!("{local}@{DOMAIN}"),
            external_id: self.external_id(),
            employee_number: format!("{}", 100_000 + self.hired),
            title,
            department,
            manager: None,
        }
    }

    /// A new id for a person or a group.
    pub fn external_id(&mut self) -> String {
        match self.ids {
            ExternalIds::Guid => {
                Uuid::from_u64_pair(self.dice.next_number(), self.dice.next_number()).to_string()
            }
            ExternalIds::Okta => {
                const LETTERS: &[u8] =
                    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
                let mut id = String::from("00u");
                id.extend((0..17).map(|_| char::from(self.dice.pick_item(LETTERS))));
                id
            }
            ExternalIds::Digits(count) => {
                let mut id = String::from("1");
                id.extend((1..count).map(|_| char::from(self.dice.pick_item(b"0123456789"))));
                id
            }
        }
    }
}

/// The generator Splitmix64: random enough to pick names, and the same on every machine.
pub struct RandomNumbers(pub u64);

impl RandomNumbers {
    fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn next_below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next_number() % bound).unwrap_or(0)
    }

    /// One of the items. The callers' lists are constants and never empty.
    fn pick_item<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next_below(from.len())]
    }

    /// `count` of the items, each at most once, in random order.
    pub fn sample_items(&mut self, mut from: Vec<usize>, count: usize) -> Vec<usize> {
        let count = count.min(from.len());
        for place in 0..count {
            let other = place + self.next_below(from.len() - place);
            from.swap(place, other);
        }
        from.truncate(count);
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, count: usize) -> Vec<SimulatedPerson> {
        let mut people = PersonGenerator::new(seed, ExternalIds::Okta);
        (0..count).map(|_| people.next_person("Surgery", "Nurse")).collect()
    }

    #[test]
    fn same_seed_gives_the_same_people() {
        assert_eq!(draw(7, 50), draw(7, 50));
        assert_ne!(draw(7, 50), draw(8, 50));
    }

    #[test]
    fn sign_in_names_are_unique() {
        let staff = draw(1, 20_000);
        let names: HashSet<_> = staff.iter().map(|person| &person.user_name).collect();
        let ids: HashSet<_> = staff.iter().map(|person| &person.external_id).collect();
        assert_eq!((names.len(), ids.len()), (20_000, 20_000));
        assert!(names.iter().all(|name| name.is_ascii() && name.ends_with("@stmary.example")));
        assert!(ids.iter().all(|id| id.len() == 20));
    }

    #[test]
    fn a_sample_repeats_no_item() {
        let mut drawn = RandomNumbers(3).sample_items((0..100).collect(), 40);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 40);
        assert_eq!(RandomNumbers(3).sample_items(vec![1, 2], 10).len(), 2);
        assert!(RandomNumbers(3).sample_items(Vec::new(), 10).is_empty());
    }
}
