use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of day in UTC, since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Moment(Duration);

const DAY_SECS: u64 = 86_400;

impl Moment {
    pub const LETTERS: &'static str = "@Y @m @d @H @M @S @y @j @e @F @T @D @R @a @b @s @N @z @Z";

    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub fn knows(letter: char) -> bool {
        letter.is_alphabetic() && Self::LETTERS.split(' ').any(|known| known.ends_with(letter))
    }

    /// As strftime(3) names them; N is nanoseconds.
    pub fn part(self, letter: char) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let secs = self.0.as_secs();
        let (year, month, day, day_of_year) = date(secs / DAY_SECS);
        let (hour, minute, second) = (secs % DAY_SECS / 3600, secs % 3600 / 60, secs % 60);
        match letter {
            'Y' => format!("{year:04}"),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'j' => format!("{day_of_year:03}"),
            'H' => format!("{hour:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'F' => format!("{year:04}-{month:02}-{day:02}"),
            'D' => format!("{month:02}/{day:02}/{:02}", year % 100),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'a' => DAYS.get((secs / DAY_SECS % 7) as usize).map_or(String::new(), |day| (*day).to_owned()),
            'b' => MONTHS.get(month as usize - 1).map_or(String::new(), |month| (*month).to_owned()),
            's' => secs.to_string(),
            'N' => format!("{:09}", self.0.subsec_nanos()),
            'z' => "+0000".to_owned(),
            _ => "UTC".to_owned(),
        }
    }

    pub fn iso_8601(self) -> String {
        format!("{}T{}+0000", self.part('F'), self.part('T'))
    }

    pub fn iso_8601_with_micros(self) -> String {
        format!("{}T{}.{:06}Z", self.part('F'), self.part('T'), self.0.subsec_micros())
    }

    pub fn since_1970(self) -> String {
        format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// Year, month, day and day of the year of a day since 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    let mut left = days;
    loop {
        let len = if is_leap(year) { 366 } else { 365 };
        if left < len {
            break;
        }
        left -= len;
        year += 1;
    }
    let day_of_year = left + 1;
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < len {
            break;
        }
        left -= len;
        month += 1;
    }
    (year, month, left + 1, day_of_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_every_way() {
        // 2024-02-29 was the sixtieth day of a leap year, and a Thursday.
        let moment = Moment(Duration::new(1_709_211_845, 123_456_789));
        assert_eq!(moment.iso_8601(), "2024-02-29T13:04:05+0000");
        assert_eq!(moment.iso_8601_with_micros(), "2024-02-29T13:04:05.123456Z");
        assert_eq!(moment.since_1970(), "1709211845.123456789");
        let told: Vec<_> = "YymdejHMSDRabsNzZ".chars().map(|letter| moment.part(letter)).collect();
        assert_eq!(
            told.join(" "),
            "2024 24 02 29 29 060 13 04 05 02/29/24 13:04 Thu Feb 1709211845 123456789 +0000 UTC"
        );
        assert_eq!(Moment(Duration::ZERO).iso_8601(), "1970-01-01T00:00:00+0000");
        // 2100 is no leap year.
        assert_eq!(Moment(Duration::from_secs(4_107_542_400)).part('F'), "2100-03-01");
    }
}
