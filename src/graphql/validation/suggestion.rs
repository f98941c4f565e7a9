//! How near two names are, to suggest the one that a writer may have meant.

/// How many letters must be put in, taken out or changed to make one name of the other
/// (Levenshtein).
pub fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut left = above + 1;
        let mut next = vec![left];
        for (wanted, pair) in other.iter().zip(row.windows(2)) {
            let [corner, over] = pair else { continue };
            let changed = corner + usize::from(!letter.eq_ignore_ascii_case(wanted));
            left = changed.min(over + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::edit_distance;

    #[test]
    fn distances_count_letters() {
        for (one, other, distance) in
            [("name", "name", 0), ("nme", "name", 1), ("", "abc", 3), ("users", "Usres", 2)]
        {
            assert_eq!(edit_distance(one, other), distance, "{one} {other}");
        }
    }
}
