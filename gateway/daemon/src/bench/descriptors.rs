use crate::client::ClientError;

/// Besides the connections: standard streams, runtimes, timers, /proc.
const OTHERS: u64 = 64;

/// Sees that this process may have so many connections.
pub fn raise(connections: u64) -> Result<(), ClientError> {
    let limit = rlimit::increase_nofile_limit(u64::MAX);
    check(connections, limit.unwrap_or(u64::MAX))
}

fn check(connections: u64, limit: u64) -> Result<(), ClientError> {
    let needed = connections + OTHERS;
    if needed <= limit {
        return Ok(());
    }
    Err(ClientError::Usage(format!(
        "{connections} connections need {needed} descriptors, and this process may have {limit}: raise the hard \
         limit, as root with `ulimit -Hn {needed}`, or connect fewer (-c)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_are_told_with_what_helps() {
        assert!(check(936, 1000).is_ok());
        let error = check(937, 1000).unwrap_err().to_string();
        assert!(error.contains("1001 descriptors") && error.contains("ulimit -Hn 1001"), "{error}");
    }
}
