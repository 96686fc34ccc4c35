//! The corpora of the fuzz targets, as they are and damaged.

#[path = "../../../tests/fuzz/src/mqtt.rs"]
mod mqtt;

use std::path::Path;

/// Damaged copies of each input.
const COPIES: usize = 200;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 20, "{target}: {} inputs", inputs.len());
    inputs
}

/// Marsaglia's xorshift64: enough disorder, and the same every time.
struct Disorder(u64);

impl Disorder {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn damage(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return bytes;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, self.below(256) as u8),
                3 => drop(bytes.remove(at)),
                4 => bytes.truncate(at),
                _ => bytes.extend_from_slice(&other[self.below(other.len() + 1)..]),
            }
        }
        bytes
    }
}

/// Runs the function over the corpus; a panic names the input.
fn run(target: &str, check: fn(&[u8])) {
    let inputs = corpus(target);
    let mut disorder = Disorder(0x9E37_79B9_7F4A_7C15);
    let named = |name: &str, bytes: &[u8]| {
        let caught = std::panic::catch_unwind(|| check(bytes));
        caught.unwrap_or_else(|_| panic!("{target} of {name}: {bytes:02x?}"));
    };
    for (name, input) in &inputs {
        named(name, input);
        for _ in 0..COPIES {
            let other = &inputs[disorder.below(inputs.len())].1;
            named(name, &disorder.damage(input, other));
        }
    }
}

#[test]
fn mqtt_decode() {
    run("mqtt_decode", mqtt::decode);
}

#[test]
fn mqtt_identity() {
    run("mqtt_identity", mqtt::identity);
}

#[test]
fn mqtt_connection() {
    run("mqtt_connection", mqtt::connection);
}
