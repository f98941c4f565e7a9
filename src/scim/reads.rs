//! Remembers which resources an identity provider has read in full. A client that uses neither
//! `attributes` nor `excludedAttributes` receives the whole resource.

use uuid::Uuid;

use super::query::ListParams;
use crate::buffers::last_reads::{Kind, ListPage, ListReader};
use crate::domain::paging::{CursorPlace, FoundPage, ListCursor, PageStart};
use crate::scim::http::ScimCaller;

/// The result of a filter is remembered, resource by resource, if it has at most this many.
const MAX_REMEMBERED_RESULTS: usize = 20;

/// Remembers that a user or group was answered in this version.
pub fn remember_resource(
    caller: &ScimCaller,
    kind: Kind,
    wanted: &ListParams,
    id: Uuid,
    version: i64,
) {
    if let Some(reader) = full_reader(caller, wanted) {
        caller.cx.app.reads.note_read(reader, kind, id, version, caller.cx.requested_at);
    }
}

/// Remembers that a filter found these resources in these versions.
pub fn remember_results(
    caller: &ScimCaller,
    kind: Kind,
    wanted: &ListParams,
    found: impl ExactSizeIterator<Item = (Uuid, i64)>,
) {
    if wanted.query.filter.is_some() && found.len() <= MAX_REMEMBERED_RESULTS {
        found.for_each(|(id, version)| remember_resource(caller, kind, wanted, id, version));
    }
}

/// Remembers that a page of a list was answered.
pub fn remember_page<T>(
    caller: &ScimCaller,
    kind: Kind,
    wanted: &ListParams,
    found: &FoundPage<T>,
) {
    // A list that is not sorted by age can change its order between two pages.
    if wanted.query.filter.is_some() || wanted.query.sort.is_some() || wanted.query.limit == 0 {
        return;
    }
    let Some(reader) = full_reader(caller, wanted) else { return };
    let page = match wanted.query.from {
        PageStart::Index(from) => {
            ListPage::Index { from, to: from + found.rows.len() as u64, total: found.total }
        }
        PageStart::Cursor(ListCursor { place, .. }) => {
            let after = match place {
                CursorPlace::Beginning => None,
                CursorPlace::After(id) => Some(id),
                CursorPlace::Before(_) | CursorPlace::Number(_) => return,
            };
            let next = match found.next {
                Some(ListCursor { place: CursorPlace::After(id), .. }) => Some(id),
                _ => None,
            };
            ListPage::Cursor { after, next }
        }
    };
    caller.cx.app.reads.note_list_page(reader, kind, page, caller.cx.requested_at);
}

/// The connection that reads, if the answer holds the whole resources.
fn full_reader(caller: &ScimCaller, wanted: &ListParams) -> Option<ListReader> {
    let whole = !wanted.projected && caller.note.sends_body() && !caller.note.is_left_out();
    let connection = caller.cx.confined_to().filter(|_| whole)?;
    Some(ListReader { organization: caller.cx.organization(), connection })
}
