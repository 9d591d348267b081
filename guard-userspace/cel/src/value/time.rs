//! Points in time, from the year 1 to 9999, and the calendar they are read in.

use std::fmt;

/// From 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, in seconds.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const DAY: i64 = 86_400;

/// A point in time, and the offset in which it was written.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    seconds: i64,
    nanoseconds: u32,
    /// Seconds east of UTC; `string()` shows it, nothing else.
    offset: i32,
}

/// The parts of a date and a time of day.
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    /// From 0.
    pub(crate) day_of_year: i64,
    /// From 0, which is Sunday.
    pub(crate) day_of_week: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl Timestamp {
    /// None outside the years 1 to 9999.
    pub(crate) fn new(seconds: i64, nanoseconds: u32, offset: i32) -> Option<Self> {
        RANGE.contains(&seconds).then_some(Self { seconds, nanoseconds, offset })
    }

    /// Reads RFC 3339 as Go does: a comma may stand for the point, and a fraction may have any number of digits. None outside the years 1 to
    /// 9999 as well.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // An hour may have one digit.
        let with_hour =
            text.get(12..13).filter(|after| *after == ":").and_then(|_| Some((text.get(..11)?, text.get(11..)?)));
        let text = &with_hour.map_or_else(|| text.to_owned(), |(date, time)| format!("{date}0{time}"));
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
            return None;
        }
        if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut at = 19;
        let mut nanoseconds = 0;
        if is(at, b'.') || is(at, b',') {
            let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let nine: String = text[at + 1..=at + digits].chars().chain("000000000".chars()).take(9).collect();
            nanoseconds = nine.parse().ok()?;
            at += 1 + digits;
        }
        let offset = if text.get(at..) == Some("Z") {
            0
        } else {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if text.len() != at + 6 || !is(at + 3, b':') || hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            match bytes[at] {
                b'+' => offset,
                b'-' => -offset,
                _ => return None,
            }
        };
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
        Self::new(seconds, nanoseconds, i32::try_from(offset).ok()?)
    }

    /// Seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    pub fn nanoseconds(&self) -> u32 {
        self.nanoseconds
    }

    /// What two timestamps are compared by.
    pub(super) fn instant(&self) -> (i64, u32) {
        (self.seconds, self.nanoseconds)
    }

    /// Go's zero time.
    pub(super) fn is_zero(&self) -> bool {
        self.seconds == *RANGE.start() && self.nanoseconds == 0
    }

    pub(crate) fn in_utc(mut self) -> Self {
        self.offset = 0;
        self
    }

    /// Later by so many nanoseconds, or earlier.
    pub(crate) fn plus(&self, nanoseconds: i128) -> Option<Self> {
        let total = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds) + nanoseconds;
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
        Self::new(seconds, u32::try_from(total.rem_euclid(1_000_000_000)).ok()?, self.offset)
    }

    /// Nanoseconds since `other`; none if they are more than a duration holds.
    pub(crate) fn since(&self, other: &Self) -> Option<i64> {
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let total = seconds * 1_000_000_000 + i128::from(self.nanoseconds) - i128::from(other.nanoseconds);
        i64::try_from(total).ok()
    }

    /// Its date and time of day so many seconds east of UTC.
    pub(crate) fn civil(&self, offset: i64) -> Civil {
        let local = self.seconds.saturating_add(offset);
        let (days, rest) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            day_of_year: days - days_from_civil(year, 1, 1),
            day_of_week: (days + 4).rem_euclid(7),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

/// RFC 3339, the fraction as short as it can be.
impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil(i64::from(self.offset));
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanoseconds > 0 {
            write!(out, ".{}", format!("{:09}", self.nanoseconds).trim_end_matches('0'))?;
        }
        if self.offset == 0 {
            return write!(out, "Z");
        }
        let (sign, offset) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs());
        write!(out, "{sign}{:02}:{:02}", offset / 3600, offset / 60 % 60)
    }
}

pub(crate) fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of the Gregorian calendar, years counted from March so that a leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}
