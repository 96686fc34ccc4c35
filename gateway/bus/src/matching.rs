use gateway_model::Topic;

use crate::Bus;

impl Bus {
    /// How many sessions a topic leads to, looked up as a publisher does whose cache does not know it.
    /// For benchmarks: matching alone, without a message.
    pub fn match_topic(&self, topic: &Topic) -> usize {
        self.routes.read().route(topic).targets.len()
    }
}
