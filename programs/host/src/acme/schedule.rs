//! When an authority is asked, and when not: all times are Unix seconds.

/// The pauses after failures, in seconds: an authority counts them, and blocks a name that fails too often.
const PAUSES: [u64; 4] = [600, 3600, 21_600, 86_400];
/// The window in which new orders are counted, in seconds.
pub const WINDOW: u64 = 10_800;
/// The longest time for which an authority may have this host wait, in seconds.
pub const LONGEST_WAIT: u64 = 86_400;
/// How often an authority is asked for its advice on a renewal (RFC 9773 4.3.2), in seconds.
const ASK: (u64, u64) = (3600, 86_400);

/// The pause after so many failures, up to a tenth longer by chance (`chance` is any number), so that hosts that failed together do not
/// come together again.
#[must_use]
pub fn pause(failures: u32, chance: u32) -> u64 {
    let at = (failures.saturating_sub(1) as usize).min(PAUSES.len() - 1);
    let pause = PAUSES[at];
    pause + pause / 10 * u64::from(chance % 1000) / 1000
}

/// When a certificate is renewed if its authority says nothing: at two thirds of its life, however long that is.
#[must_use]
pub fn renewal(from: u64, until: u64) -> u64 {
    from + until.saturating_sub(from) / 3 * 2
}

/// When it is renewed if its authority suggests this window: at a moment of it that chance decides, and that stays as long as it is in
/// the window (RFC 9773 4.2).
#[must_use]
pub fn suggested(window: (u64, u64), planned: u64, until: u64, chance: u32) -> u64 {
    let (start, end) = window;
    // A window that is none, or that begins after the end, is not advice.
    if end <= start || start >= until {
        return planned;
    }
    if (start..end).contains(&planned) {
        return planned;
    }
    start + ((end - start) as u128 * u128::from(chance) / (u128::from(u32::MAX) + 1)) as u64
}

/// Without a certificate: after how many seconds of failures the second authority is asked.
const WITHOUT: u64 = 3600;

/// Whether failures since then have taken a third of the time that is left between renewal and end of the present certificate, if there is
/// one: then it is the turn of another authority.
#[must_use]
pub fn has_failed_for_long(life: Option<(u64, u64)>, since: Option<u64>, now: u64) -> bool {
    let Some(since) = since else { return false };
    let patience = life.map_or(WITHOUT, |(renew, until)| until.saturating_sub(renew) / 3);
    now.saturating_sub(since) >= patience
}

/// In how many seconds it is asked again.
#[must_use]
pub fn ask_again(advice: u64) -> u64 {
    advice.clamp(ASK.0, ASK.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_day() {
        for (failures, least) in [
            (0, 600),
            (1, 600),
            (2, 3600),
            (3, 21_600),
            (4, 86_400),
            (u32::MAX, 86_400),
        ] {
            for chance in [0, 1, 999, u32::MAX] {
                let pause = pause(failures, chance);
                assert!(
                    (least..=least + least / 10).contains(&pause),
                    "{failures} {chance}: {pause}"
                );
            }
        }
        // A name that always fails: one order a day after the first hours.
        let (mut now, mut orders) = (0, Vec::new());
        for failures in 1.. {
            orders.push(now);
            now += pause(failures, 0);
            if now > 30 * 86_400 {
                break;
            }
        }
        let late: Vec<_> = orders.iter().filter(|time| **time > 86_400).collect();
        assert!(
            late.windows(2).all(|pair| pair[1] - pair[0] >= 86_400) && late.len() <= 30,
            "{orders:?}"
        );
    }

    #[test]
    fn a_third_of_what_is_left_is_enough() {
        let day = 86_400;
        // 90 days, and 6 days; and none.
        for (life, patience) in [
            (Some((60 * day, 90 * day)), 10 * day),
            (Some((4 * day, 6 * day)), 2 * day / 3),
            (Some((9, 3)), 0),
            (None, 3600),
        ] {
            let since = 61 * day;
            assert!(!has_failed_for_long(life, None, u64::MAX), "{life:?}");
            assert!(has_failed_for_long(life, Some(since), since + patience), "{life:?}");
            if patience > 0 {
                assert!(
                    !has_failed_for_long(life, Some(since), since + patience - 1),
                    "{life:?}"
                );
            }
        }
    }

    #[test]
    fn a_renewal_is_at_two_thirds_or_in_the_window() {
        let day = 86_400;
        assert_eq!(renewal(0, 90 * day), 60 * day);
        assert_eq!(renewal(0, 6 * day), 4 * day);
        assert_eq!(renewal(9, 3), 9);
        let (window, until) = ((50 * day, 52 * day), 90 * day);
        let of = |planned, chance| suggested(window, planned, until, chance);
        // By chance, and it stays.
        assert_eq!(of(60 * day, 0), 50 * day);
        assert_eq!(of(60 * day, u32::MAX / 2), 51 * day - 1);
        assert!(of(60 * day, u32::MAX) < 52 * day);
        assert_eq!(of(51 * day, 0), 51 * day);
        // The authority wants it at once: it has to revoke.
        assert_eq!(suggested((1, 2), 60 * day, until, 7), 1);
        for strange in [
            (5, 5),
            (9, 3),
            (until, until + 1),
            (u64::MAX, u64::MAX),
            (u64::MAX - 1, u64::MAX),
        ] {
            assert_eq!(suggested(strange, 60 * day, until, 7), 60 * day, "{strange:?}");
        }
        assert_eq!(
            (ask_again(0), ask_again(7200), ask_again(u64::MAX)),
            (3600, 7200, 86_400)
        );
    }
}
