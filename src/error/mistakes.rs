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
