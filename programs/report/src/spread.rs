//! When in the day after it the report of a day is sent: receivers must not get those of all senders at midnight (RFC 8460
//! 5.3 asks for a random delay; the name of the domain gives one that stays the same after a crash).

/// No report is sent sooner after midnight, in seconds: a result may still be on its way to the journal of the day.
const FIRST: u64 = 600;
/// How long the reports of a day are spread over, in seconds.
const SPREAD: u64 = 4 * 3600;

/// A number from a text, the same on every host: FNV-1a.
#[must_use]
pub fn hash(text: &str) -> u64 {
    let fold = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

/// How many seconds after the end of a day the report to a domain is sent.
#[must_use]
pub fn delay(domain: &str) -> u64 {
    FIRST + (hash(domain) >> 32) % SPREAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_spread_evenly() {
        let mut hours = [0; 5];
        for n in 0..10_000 {
            let delay = delay(&format!("example{n}.test"));
            assert!((FIRST..FIRST + SPREAD).contains(&delay));
            hours[usize::try_from((delay - FIRST) / 3600).unwrap()] += 1;
        }
        assert!(hours[..4].iter().all(|hour| (2200..2800).contains(hour)), "{hours:?}");
        assert_eq!(delay("example.test"), delay("example.test"));
    }
}
