//! What an identity provider has read in full: who does not ask for some attributes, or to be spared some, has seen all
//! that there is to see.

use uuid::Uuid;

use super::query::Wanted;
use super::wire::Caller;
use crate::domain::list::{Cursor, Found, From, Place};
use crate::reads::{Kind, Page, Reader};

/// Of a list with a filter, so many are remembered one by one.
const FEW: usize = 20;

/// A user or group is answered, as it is in this version.
pub fn one(caller: &Caller, kind: Kind, wanted: &Wanted, id: Uuid, version: i64) {
    if let Some(reader) = reader(caller, wanted) {
        caller.cx.app.reads.note(reader, kind, id, version, caller.cx.requested_at);
    }
}

/// What was looked for is answered: these, in these versions.
pub fn few(caller: &Caller, kind: Kind, wanted: &Wanted, found: impl ExactSizeIterator<Item = (Uuid, i64)>) {
    if wanted.query.filter.is_some() && found.len() <= FEW {
        found.for_each(|(id, version)| one(caller, kind, wanted, id, version));
    }
}

/// A page of a list is answered.
pub fn page<T>(caller: &Caller, kind: Kind, wanted: &Wanted, found: &Found<T>) {
    // A list in another order than by age changes its order while it is walked through.
    if wanted.query.filter.is_some() || wanted.query.sort.is_some() || wanted.query.limit == 0 {
        return;
    }
    let Some(reader) = reader(caller, wanted) else { return };
    let page = match wanted.query.from {
        From::Index(from) => Page::Index { from, to: from + found.rows.len() as u64, total: found.total },
        From::Cursor(Cursor { place, .. }) => {
            let after = match place {
                Place::Beginning => None,
                Place::After(id) => Some(id),
                Place::Before(_) | Place::Number(_) => return,
            };
            let next = match found.next {
                Some(Cursor { place: Place::After(id), .. }) => Some(id),
                _ => None,
            };
            Page::Cursor { after, next }
        }
    };
    caller.cx.app.reads.turn(reader, kind, page, caller.cx.requested_at);
}

/// Who is answered in full.
fn reader(caller: &Caller, wanted: &Wanted) -> Option<Reader> {
    let connection = caller.cx.confined_to().filter(|_| !wanted.projected && caller.note.has_body())?;
    Some(Reader { organization: caller.cx.organization(), connection })
}
