const KINDS: [&str; 4] = ["mqtt", "coap", "lwm2m", "all"];
const COUNT: u32 = 1_000_000;
/// When cargo runs this as a test.
const COUNT_TESTED: u32 = 1_000;

/// What the command line asks for.
pub struct Arguments {
    pub kinds: Vec<String>,
    pub count: u32,
    /// Measure this kind in this very process.
    pub alone: Option<String>,
}

impl Arguments {
    /// Flags of the test harness, which cargo passes on, mean nothing here.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let (mut kinds, mut count, mut alone, mut is_bench) = (Vec::new(), None, None, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => is_bench = true,
                "--count" => {
                    let text = words.next().unwrap_or_default().replace(['_', ','], "");
                    count = Some(text.parse().map_err(|error| format!("--count {text:?}: {error}"))?);
                }
                "--alone" => alone = words.next(),
                kind if KINDS.contains(&kind) => kinds.push(word),
                flag if flag.starts_with('-') => {}
                other => return Err(format!("{other}: expected {} or --count N", KINDS.join(", "))),
            }
        }
        let default = if is_bench || !kinds.is_empty() { COUNT } else { COUNT_TESTED };
        if kinds.is_empty() {
            kinds = KINDS.map(String::from).into();
        }
        Ok(Self { kinds, count: count.unwrap_or(default), alone })
    }
}
