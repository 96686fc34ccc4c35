use std::net::IpAddr;

use gateway_model::Qos;
use ipnet::IpNet;

use super::pattern::Pattern;
use super::words::{Word, words};
use crate::Subject;

/// One line of the file:
///
/// ```text
///   allow|deny  publish|subscribe|all  FILTER...  CONDITION...
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) line: u32,
    pub(crate) allow: bool,
    pub(crate) publish: bool,
    pub(crate) subscribe: bool,
    patterns: Vec<Pattern>,
    /// Each list: one of them, or anything if it is empty.
    pub(crate) users: Vec<Box<str>>,
    pub(crate) clients: Vec<Box<str>>,
    networks: Vec<IpNet>,
    listeners: Vec<Box<str>>,
    qos: Vec<Qos>,
    retain: Option<bool>,
    anonymous: Option<bool>,
}

const CONDITIONS: [&str; 7] = ["user", "client", "address", "qos", "retain", "anonymous", "listener"];

impl Rule {
    /// `None` for an empty line and a comment.
    pub(crate) fn parse(line: u32, text: &str) -> Result<Option<Self>, String> {
        if text.trim_start().starts_with('#') {
            return Ok(None);
        }
        let mut words = words(text)?.into_iter();
        let Some(decision) = words.next() else { return Ok(None) };
        let mut rule = Self { line, ..Self::default() };
        rule.allow = match decision.text.as_str() {
            "allow" => true,
            "deny" => false,
            other => return Err(format!("{other:?}: a rule begins with allow or deny")),
        };
        let action = words.next().map(|word| word.text).unwrap_or_default();
        (rule.publish, rule.subscribe) = match action.as_str() {
            "publish" => (true, false),
            "subscribe" => (false, true),
            "all" => (true, true),
            other => {
                return Err(format!("{other:?}: after allow or deny stands publish, subscribe or all"));
            }
        };
        for word in words {
            rule.add(&word)?;
        }
        rule.check()?;
        Ok(Some(rule))
    }

    fn add(&mut self, word: &Word) -> Result<(), String> {
        if word.quoted {
            self.patterns.push(Pattern::parse(&word.text, false)?);
            return Ok(());
        }
        match word.text.split_once('=') {
            Some(("", exact)) => self.patterns.push(Pattern::parse(exact, true)?),
            Some((name, value)) if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                self.add_condition(name, value)?;
            }
            _ => self.patterns.push(Pattern::parse(&word.text, false)?),
        }
        Ok(())
    }

    fn add_condition(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{name}= has no value"));
        }
        match name {
            "user" => self.users.push(value.into()),
            "client" => self.clients.push(value.into()),
            "listener" => self.listeners.push(value.into()),
            "address" => {
                for network in value.split(',') {
                    self.networks.push(parse_network(network)?);
                }
            }
            "qos" => {
                for level in value.split(',') {
                    let level = level.parse().ok().and_then(Qos::from_u8);
                    self.qos
                        .push(level.ok_or_else(|| format!("qos={value}: a list of 0, 1 and 2 is meant"))?);
                }
            }
            "retain" => set_once(&mut self.retain, name, value)?,
            "anonymous" => set_once(&mut self.anonymous, name, value)?,
            _ => {
                return Err(format!(
                    "{name}= is no condition (there are {}); a filter that looks like one stands in quotes",
                    CONDITIONS.join("=, ") + "="
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.patterns.is_empty() {
            return Err("there is no filter; # is all topics".to_owned());
        }
        // Or a comment at the end of a line would allow everything.
        if self.patterns.len() > 1 && self.patterns.iter().any(Pattern::is_everything) {
            return Err(
                "# and another filter: # is all topics, and a comment has a line of its own".to_owned()
            );
        }
        if self.retain.is_some() && self.subscribe {
            return Err("retain= is about publishing: write publish in place of subscribe and all".to_owned());
        }
        Ok(())
    }

    /// The first levels of topics that it can concern; `None` if it may be any.
    pub(crate) fn first_levels(&self) -> Option<Vec<Box<str>>> {
        self.patterns.iter().map(|pattern| pattern.first_level().map(Into::into)).collect()
    }

    pub(crate) fn matches_publish(&self, subject: &Subject<'_>, topic: &str, qos: Qos, retain: bool) -> bool {
        self.patterns.iter().any(|pattern| pattern.covers(subject, topic))
            && self.retain.is_none_or(|wanted| wanted == retain)
            && self.is_for(subject, qos)
    }

    /// An allowing rule has to cover the whole filter; a denying one is offended by a part of it.
    pub(crate) fn matches_subscribe(&self, subject: &Subject<'_>, filter: &str, qos: Qos) -> bool {
        self.is_for(subject, qos)
            && self.patterns.iter().any(|pattern| match self.allow {
                true => pattern.covers(subject, filter),
                false => pattern.overlaps(subject, filter),
            })
    }

    fn is_for(&self, subject: &Subject<'_>, qos: Qos) -> bool {
        let among =
            |list: &[Box<str>], value: &str| list.is_empty() || list.iter().any(|one| **one == *value);
        (self.users.is_empty() || subject.username().is_some_and(|name| among(&self.users, name)))
            && among(&self.clients, subject.client_id)
            && among(&self.listeners, subject.listener)
            && (self.qos.is_empty() || self.qos.contains(&qos))
            && self.anonymous.is_none_or(|wanted| wanted == subject.is_anonymous())
            && (self.networks.is_empty()
                || self.networks.iter().any(|network| network.contains(&subject.address.to_canonical())))
    }
}

/// An address, or all that begin alike.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    let network = network.map_err(|_| {
        format!("{text:?} is not an address or a network, such as 192.0.2.7, ::1, 10.0.0.0/8, fd00::/8")
    })?;
    // Whoever writes 10.0.0.1/8 may have meant either.
    if network != network.trunc() {
        return Err(format!("{text:?} has bits set beyond its prefix: {} is meant?", network.trunc()));
    }
    Ok(network)
}

fn set_once(condition: &mut Option<bool>, name: &str, value: &str) -> Result<(), String> {
    let truth = value.parse().map_err(|_| format!("{name}={value}: true or false is meant"))?;
    match condition.replace(truth) {
        None => Ok(()),
        Some(_) => Err(format!("{name}= stands there twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let parse = |text| Rule::parse(7, text).unwrap();
        assert_eq!((parse(""), parse("  "), parse(" # allow all #")), (None, None, None));
        let rule = parse(
            r#"deny publish a/+ "b c/#" =x/# "p=q" user=one user="the other" address=10.0.0.0/8,::1 qos=0,2 retain=true"#,
        )
        .unwrap();
        assert!(!rule.allow && rule.publish && !rule.subscribe);
        let patterns = [("a/+", false), ("b c/#", false), ("x/#", true), ("p=q", false)];
        assert_eq!(rule.patterns, patterns.map(|(text, exact)| Pattern::parse(text, exact).unwrap()));
        assert_eq!(rule.users, ["one".into(), "the other".into()]);
        assert_eq!((rule.networks.len(), rule.qos.len(), rule.retain), (2, 2, Some(true)));
    }

    #[test]
    fn addresses() {
        let is_for = |condition: &str, address: &str| {
            let identity = crate::Identity::default();
            let address = address.parse().unwrap();
            let subject = Subject { identity: &identity, client_id: "c", address, listener: "mqtt" };
            let rule = Rule::parse(1, &format!("allow publish # address={condition}")).unwrap().unwrap();
            rule.matches_publish(&subject, "a", Qos::AtMostOnce, false)
        };
        assert!(is_for("10.0.0.0/8", "10.255.0.1") && !is_for("10.0.0.0/8", "11.0.0.1"));
        // An IPv4 address that came through a socket for both families.
        assert!(is_for("10.0.0.0/8", "::ffff:10.0.0.1") && !is_for("10.0.0.0/8", "fd00::1"));
        assert!(is_for("192.0.2.7", "192.0.2.7") && !is_for("192.0.2.7", "192.0.2.8"));
        assert!(is_for("::1,fd00::/8", "fdff::1") && !is_for("::1,fd00::/8", "fe80::1"));
    }

    #[test]
    fn mistakes() {
        let cases = [
            ("permit all #", "begins with allow or deny"),
            ("allow", "publish, subscribe or all"),
            ("allow read #", "publish, subscribe or all"),
            ("allow all", "there is no filter"),
            ("allow all user=a", "there is no filter"),
            ("allow all a#", "wildcard"),
            ("allow all # everybody", "a comment has a line of its own"),
            ("allow all # usr=a", "usr= is no condition"),
            ("allow all # user=", "user= has no value"),
            ("allow all # address=10.0.0.0/40", "is not an address"),
            ("allow all # address=10.0.0.1/8", "10.0.0.0/8 is meant?"),
            ("allow all # qos=3", "0, 1 and 2"),
            ("allow all # retain=true", "retain= is about publishing"),
            ("allow publish # retain=yes", "true or false"),
            ("allow publish # retain=true retain=false", "twice"),
            ("allow all a/${client}", "no placeholder"),
            ("allow all \"a", "not closed"),
            ("allow all $share/g/a", "shared"),
        ];
        for (line, expected) in cases {
            let error = Rule::parse(1, line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
