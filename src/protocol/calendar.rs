//! Days and times in UTC and lengths of time, as people write them.

const DAY: u64 = 86_400;

/// The first second of a day given as `2026-12-31`, in Unix seconds. `None` if there is no such day, or if it was
/// before 1970.
pub fn day(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut number = |digits: usize| {
        let part = parts.next()?;
        (part.len() == digits && part.bytes().all(|c| c.is_ascii_digit()))
            .then(|| part.parse::<u64>().ok())
            .flatten()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let seconds = days_before(year, month, day)? * DAY;
    // A day that does not exist would be written as another one.
    (parts.next().is_none() && date(seconds) == text).then_some(seconds)
}

/// The day of a time: `2026-12-31`.
pub fn date(time: u64) -> String {
    let (year, month, day) = civil(time / DAY);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time: `2026-12-31 23:59:59 UTC`.
pub fn date_time(time: u64) -> String {
    let second = time % DAY;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{} {hour:02}:{minute:02}:{:02} UTC", date(time), second % 60)
}

/// A length of time in words, in the largest unit of which there are two, or that fits exactly: `3 days`, `90 minutes`,
/// `1 day`. What is left over is dropped.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(DAY, "day"), (3600, "hour"), (60, "minute")];
    let fits = |unit: u64| seconds >= 2 * unit || seconds == unit;
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| fits(*unit)).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// The number of days between 1970-01-01 and this day. The year is taken to begin in March: then the leap day is its
/// last one, and the months before a month have together 30.6 days each, rounded.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(EPOCH)
}

/// The days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

/// The day with this number: the year, the month and the day of the month.
fn civil(days: u64) -> (u64, u64, u64) {
    // Times beyond the year 9999 have no date of four digits; they come from broken files alone.
    let days = days.min(2_932_896) + EPOCH;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year_of_era + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        // From date(1) of GNU coreutils.
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1972-02-29", 68_169_600),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2026-12-31", 1_798_675_200),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(day(text), Some(seconds), "{text}");
            assert_eq!(date(seconds), text);
            assert_eq!(date(seconds + DAY - 1), text);
        }
        assert_eq!(date_time(1_798_761_599), "2026-12-31 23:59:59 UTC");
        assert_eq!(date_time(u64::MAX), "9999-12-31 07:00:15 UTC");
    }

    #[test]
    fn every_day_of_two_centuries_leads_back_to_itself() {
        for number in 0..73_050 {
            assert_eq!(day(&date(number * DAY)), Some(number * DAY));
        }
    }

    #[test]
    fn spans() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (3600, "1 hour"),
            (5400, "90 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (100_000, "27 hours"),
            (172_799, "47 hours"),
            (604_800, "7 days"),
            (31_557_600, "365 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn there_is_no_such_day() {
        for text in [
            "",
            "2026",
            "2026-12",
            "2026-2-1",
            "2026-02-29",
            "2100-02-29",
            "2026-00-10",
            "2026-13-01",
            "2026-04-31",
            "2026-01-00",
            "2026-01-32",
            "1969-12-31",
            "2026-01-01-01",
            "+026-01-01",
            "2026-01-01 ",
            "20260101",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
