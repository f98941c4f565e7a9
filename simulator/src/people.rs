//! Invented people: the same seed always hires the same staff, so a run can be repeated and a story told twice.

use std::collections::HashSet;

use uuid::Uuid;

/// The domain of every invented address; `.example` is reserved (RFC 2606), so no mail ever reaches anybody.
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

/// Family names, likewise.
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

/// Somebody on the payroll, as the personnel system knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub given_name: String,
    pub family_name: String,
    /// The sign-in name, which is the work e-mail too.
    pub user_name: String,
    /// The identity provider's own id of this person.
    pub external_id: String,
    pub employee_number: String,
    pub title: &'static str,
    /// The ward, by name.
    pub department: &'static str,
    /// The id which the *server* gave to the account of the manager.
    pub manager: Option<String>,
}

impl Person {
    /// The name as a colleague reads it.
    pub fn display_name(&self) -> String {
        format!("{} {}", self.given_name, self.family_name)
    }
}

/// The wards of a hospital with so many nurses: about twenty to a ward, and always two, so that one can move.
pub fn wards(users: usize) -> &'static [&'static str] {
    let count = users.div_ceil(20).clamp(2, WARDS.len());
    WARDS.get(..count).unwrap_or(&WARDS)
}

/// How an identity provider spells its own ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalIds {
    Guid,
    /// `00u` and seventeen letters and digits.
    Okta,
}

/// Draws people, one after the other, never the same userName twice.
pub struct People {
    dice: Dice,
    ids: ExternalIds,
    taken: HashSet<String>,
    hired: usize,
}

impl People {
    /// The people of this seed.
    pub fn new(seed: u64, ids: ExternalIds) -> Self {
        Self { dice: Dice(seed), ids, taken: HashSet::new(), hired: 0 }
    }

    /// The next one, for this ward.
    pub fn next(&mut self, department: &'static str, title: &'static str) -> Person {
        let (given_name, given) = self.dice.pick(&GIVEN);
        let (family_name, family) = self.dice.pick(&FAMILY);
        let mut local = format!("{given}.{family}");
        let mut namesake = 1;
        while !self.taken.insert(local.clone()) {
            // Namesakes are looked for from a guess on: counting up from 2 is quadratic with many people.
            namesake = if namesake == 1 { 2 + self.hired / (GIVEN.len() * FAMILY.len()) } else { namesake + 1 };
            local = format!("{given}.{family}{namesake}");
        }
        self.hired += 1;
        Person {
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

    /// A new id, of a person or a group.
    pub fn external_id(&mut self) -> String {
        match self.ids {
            ExternalIds::Guid => Uuid::from_u64_pair(self.dice.roll(), self.dice.roll()).to_string(),
            ExternalIds::Okta => {
                const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
                let mut id = String::from("00u");
                id.extend((0..17).map(|_| char::from(self.dice.pick(LETTERS))));
                id
            }
        }
    }
}

/// Splitmix64: chance enough to pick names, and the same on every machine.
pub struct Dice(pub u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % bound).unwrap_or(0)
    }

    /// One of them. The callers' lists are constants and never empty.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// `count` of these, each at most once, in no particular order.
    pub fn sample(&mut self, mut from: Vec<usize>, count: usize) -> Vec<usize> {
        let count = count.min(from.len());
        for place in 0..count {
            let other = place + self.below(from.len() - place);
            from.swap(place, other);
        }
        from.truncate(count);
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, count: usize) -> Vec<Person> {
        let mut people = People::new(seed, ExternalIds::Okta);
        (0..count).map(|_| people.next("Surgery", "Nurse")).collect()
    }

    #[test]
    fn a_seed_is_a_staff() {
        assert_eq!(draw(7, 50), draw(7, 50));
        assert_ne!(draw(7, 50), draw(8, 50));
    }

    #[test]
    fn nobody_shares_a_name_to_sign_in_with() {
        let staff = draw(1, 20_000);
        let names: HashSet<_> = staff.iter().map(|person| &person.user_name).collect();
        let ids: HashSet<_> = staff.iter().map(|person| &person.external_id).collect();
        assert_eq!((names.len(), ids.len()), (20_000, 20_000));
        assert!(names.iter().all(|name| name.is_ascii() && name.ends_with("@stmary.example")));
        assert!(ids.iter().all(|id| id.len() == 20));
    }

    #[test]
    fn a_sample_repeats_nobody() {
        let mut drawn = Dice(3).sample((0..100).collect(), 40);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 40);
        assert_eq!(Dice(3).sample(vec![1, 2], 10).len(), 2);
        assert!(Dice(3).sample(Vec::new(), 10).is_empty());
    }
}
