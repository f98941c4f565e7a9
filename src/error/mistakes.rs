//! Mistakes of one input, collected so that a person can correct them all at once.

use super::{Error, Result};

/// The mistakes that were found so far in one input.
#[derive(Debug, Default)]
pub struct Mistakes {
    found: Vec<Error>,
}

impl Mistakes {
    /// The value of one part of the input; a mistake in it is collected, and gives none.
    pub fn collect<T>(&mut self, part: Result<T>) -> Option<T> {
        match part {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(error);
                None
            }
        }
    }

    /// Collects a mistake.
    pub fn add(&mut self, error: Error) {
        match error {
            Error::Several(errors) => self.found.extend(errors),
            error => self.found.push(error),
        }
    }

    /// Refuses the input if a mistake was found; then also for what `more` finds, which is told
    /// later if it is alone, together with whatever is found then.
    ///
    /// # Errors
    /// As [`Mistakes::refuse_any`].
    pub fn refuse_with<T>(mut self, more: Result<T>) -> Result<()> {
        if !self.found.is_empty() {
            self.collect(more);
        }
        self.refuse_any()
    }

    /// Refuses the input if a mistake was found.
    ///
    /// # Errors
    /// The mistake, or [`Error::Several`]. An error that no other input would avoid comes alone.
    pub fn refuse_any(self) -> Result<()> {
        let mut found = self.found;
        match found.iter().position(|error| !error.is_mistake()) {
            Some(place) => Err(found.swap_remove(place)),
            None if found.len() > 1 => Err(Error::Several(found)),
            None => found.pop().map_or(Ok(()), Err),
        }
    }
}

/// Both values, or the mistakes of both.
///
/// # Errors
/// Those of either, as [`Mistakes::refuse_any`] puts them together.
pub fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => {
            let mut mistakes = Mistakes::default();
            mistakes.add(first);
            mistakes.add(second);
            match mistakes.refuse_any() {
                Err(error) => Err(error),
                Ok(()) => Err(Error::Internal("two mistakes are none".into())),
            }
        }
    }
}

/// All values, or the mistakes of all parts.
///
/// # Errors
/// Those of the parts, as [`Mistakes::refuse_any`] puts them together.
pub fn all<T>(parts: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut mistakes = Mistakes::default();
    let values = parts.into_iter().filter_map(|part| mistakes.collect(part)).collect();
    mistakes.refuse_any()?;
    Ok(values)
}

/// What a check makes of each entry of a list, or the mistakes in all of them, each with its place.
///
/// # Errors
/// Those of the entries, as [`Mistakes::refuse_any`] puts them together.
pub fn each<T, R>(
    list: &'static str,
    entries: &[T],
    mut check: impl FnMut(&T) -> Result<R>,
) -> Result<Vec<R>> {
    all(entries
        .iter()
        .enumerate()
        .map(|(place, entry)| check(entry).map_err(|error| error.at_place(list, place))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Noun;

    #[test]
    fn entries_of_lists_name_their_places() {
        let checked = each("emails", &["a", "", "c", ""], |email| {
            if email.is_empty() { Err(Error::invalid("emails", "is empty")) } else { Ok(()) }
        });
        let Err(Error::Several(found)) = checked else { panic!("{checked:?}") };
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["emails.1: is empty", "emails.3: is empty"]);
        let inner = Error::invalid("name", "is empty").at_place("attributes", 2);
        assert_eq!(inner.to_string(), "attributes.2.name: is empty");
        let missing = Error::not_found(Noun::Role).at_place("roles", 1);
        assert!(matches!(missing, Error::NotFoundInList { list: "roles", place: 1, .. }));
    }
}
