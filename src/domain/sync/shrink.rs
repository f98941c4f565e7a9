//! How much a source may take away before a person has to approve or confirm it.

use super::lease::{RunClaim, RunEnd};
use super::plan::SyncKind;

/// So few missing accounts or memberships need no approval, whatever their share is.
const MIN_LOST: u64 = 10;
/// The removal of all accounts or memberships needs an approval, if there are at least so many.
const SMALLEST_WHOLE: u64 = 3;

/// Whether `lost` of `total` accounts or memberships are many, and more than `percent` of them.
pub fn is_large_loss(lost: u64, total: u64, percent: u64) -> bool {
    lost > MIN_LOST && lost * 100 > total * percent
}

/// Whether a list takes away so much that a person has to approve it: `lost` of `total` accounts or
/// memberships.
fn needs_approval(lost: u64, total: u64, percent: u64) -> bool {
    is_large_loss(lost, total, percent) || lost >= total && total >= SMALLEST_WHOLE
}

/// What a list takes away from accounts or groups that it names.
#[derive(Debug, Clone, Copy)]
pub struct ListedLoss {
    pub kind: SyncKind,
    /// Accounts that it suspends, or memberships that it ends.
    pub lost: u64,
    /// All active accounts, or all memberships.
    pub total: u64,
}

impl ListedLoss {
    /// What a person has to approve first, as the end of a sentence; none if nothing.
    pub fn describe_request(self, percent: u64) -> Option<String> {
        let Self { kind, lost, total } = self;
        needs_approval(lost, total, percent).then(|| match kind {
            SyncKind::User => format!("suspends {lost} of {total} active accounts"),
            SyncKind::Group => format!("ends {lost} of {total} memberships"),
        })
    }
}

/// The accounts or groups that a source does not list.
#[derive(Debug, Clone)]
pub struct AbsentRows {
    pub kind: SyncKind,
    pub seen: u64,
    pub absent: u64,
    /// Why the source could not be asked for each of them; none where it could.
    pub unanswered: Option<String>,
}

impl AbsentRows {
    /// The removals that a person has to approve first; none if nothing. `rehearses`: a dry run,
    /// which meets no account while the real one has not created any.
    pub fn describe_request(&self, percent: u64, rehearses: bool) -> Option<String> {
        let Self { kind, seen, absent, unanswered } = self;
        let (name, lists_no_account) = match kind {
            SyncKind::User => ("accounts", *seen == 0 && *absent > 0 && !rehearses),
            SyncKind::Group => ("groups", false),
        };
        let total = seen + absent;
        if lists_no_account || is_large_loss(*absent, total, percent) {
            return Some(format!("{absent} of {total} {name}"));
        }
        let why = unanswered.as_ref()?;
        Some(format!("{absent} of {total} {name} and cannot be asked for them ({why})"))
    }
}

impl RunClaim {
    /// The end of a run that has to wait for the approval of these removals; none if there are
    /// none, or if they were approved after the run had asked for them.
    pub fn wait_for_removals(&mut self, asked: &[String]) -> Option<RunEnd> {
        let approved = self.run.approved && self.checkpoint.asked_of_absence;
        if asked.is_empty() || approved {
            return None;
        }
        self.checkpoint.asked_of_absence = true;
        Some(RunEnd::Waiting(format!(
            "the source no longer lists {}, and their removal needs an approval; none was \
             removed. If they have really gone: syncApprove; otherwise syncCancel, and look at \
             the source",
            asked.join(" and ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_small_losses_need_no_approval() {
        assert!(!needs_approval(10, 20, 30));
        assert!(!needs_approval(30, 100, 30));
        assert!(!needs_approval(2, 2, 30));
        assert!(!needs_approval(0, 0, 30));
    }

    #[test]
    fn large_or_whole_losses_need_approval() {
        assert!(needs_approval(11, 20, 30));
        assert!(needs_approval(31, 100, 30));
        assert!(needs_approval(3, 3, 100));
    }

    #[test]
    fn absent_accounts_are_asked_for() {
        let rows = |kind, seen, absent, unanswered: Option<&str>| AbsentRows {
            kind,
            seen,
            absent,
            unanswered: unanswered.map(Into::into),
        };
        let asked = |rows: AbsentRows, rehearses| rows.describe_request(30, rehearses);
        assert_eq!(asked(rows(SyncKind::User, 10, 2, None), false), None);
        let none_listed = rows(SyncKind::User, 0, 2, None);
        assert_eq!(asked(none_listed.clone(), false).as_deref(), Some("2 of 2 accounts"));
        let rehearsal = asked(none_listed, true);
        assert_eq!(rehearsal, None, "a dry run creates no account that it could meet");
        assert_eq!(asked(rows(SyncKind::Group, 0, 2, None), false), None);
        let many = rows(SyncKind::Group, 10, 20, Some("404"));
        assert_eq!(asked(many, true).as_deref(), Some("20 of 30 groups"));
        let unasked = asked(rows(SyncKind::User, 10, 2, Some("500")), false).unwrap();
        assert_eq!(unasked, "2 of 12 accounts and cannot be asked for them (500)");
    }
}
