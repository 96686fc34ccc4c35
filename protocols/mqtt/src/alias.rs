use gateway_model::{Reason, Topic};

use crate::violation::Violation;

/// The topics a client has given numbers (MQTT 5.0 section 3.3.2.3.4). They live as long as the
/// connection. Grows with the highest number used, up to the Topic Alias Maximum.
#[derive(Debug, Default)]
pub(crate) struct Aliases(Vec<Option<Topic>>);

impl Aliases {
    pub(crate) fn set(&mut self, alias: u16, topic: Topic, maximum: u16) -> Result<(), Violation> {
        let index = index(alias, maximum)?;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(topic);
        Ok(())
    }

    pub(crate) fn get(&self, alias: u16, maximum: u16) -> Result<Topic, Violation> {
        let index = index(alias, maximum)?;
        let topic = self.0.get(index).and_then(Option::as_ref);
        topic.cloned().ok_or(Violation::protocol("topic alias was never set"))
    }
}

fn index(alias: u16, maximum: u16) -> Result<usize, Violation> {
    if alias == 0 || alias > maximum {
        return Err(Violation::new(Reason::TopicAliasInvalid, "topic alias is 0 or too large"));
    }
    Ok(usize::from(alias) - 1)
}
