//! How much a source may take away before a person has to approve or confirm it.

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
pub fn needs_approval(lost: u64, total: u64, percent: u64) -> bool {
    is_large_loss(lost, total, percent) || lost >= total && total >= SMALLEST_WHOLE
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
}
