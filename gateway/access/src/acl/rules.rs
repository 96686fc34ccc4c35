use std::collections::HashMap;
use std::path::Path;

use gateway_model::Qos;

use super::Denial;
use super::rule::Rule;
use crate::config::{AclDefault, Config};
use crate::{FileError, Subject};

/// All rules, arranged so that a client meets only those that can concern it.
pub(crate) struct Rules {
    publish: Table,
    subscribe: Table,
    default: AclDefault,
}

/// Rules for one action, in the order of the file.
#[derive(Default)]
struct Table {
    rules: Vec<Rule>,
    /// Those that hold for any user and any client; the other lists are of those that name a user, or
    /// else a client.
    general: Positions,
    /// Those of `general` that concern topics of any first level.
    any_level: Positions,
    /// The rest of them, by the first levels of their filters.
    by_level: HashMap<Box<str>, Positions>,
    by_user: HashMap<Box<str>, Positions>,
    by_client: HashMap<Box<str>, Positions>,
}

/// Ascending.
type Positions = Vec<u32>;

impl Rules {
    /// Without a file: everything but what begins with `$`.
    pub(crate) fn none() -> Self {
        Self { publish: Table::default(), subscribe: Table::default(), default: AclDefault::Allow }
    }

    /// Nothing, until the file has been read.
    pub(crate) fn closed() -> Self {
        Self { default: AclDefault::Deny, ..Self::none() }
    }

    pub(crate) fn load(config: &Config) -> Result<Self, FileError> {
        if !config.has_acl() {
            return Ok(Self::none());
        }
        let text = FileError::read(&config.acl_file)?;
        Self::parse(&config.acl_file, &text, config.acl_default)
    }

    pub(crate) fn parse(path: &Path, text: &str, default: AclDefault) -> Result<Self, FileError> {
        let mut rules = Self { default, ..Self::none() };
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let number = u32::try_from(line).unwrap_or(u32::MAX);
            let rule = Rule::parse(number, text).map_err(|text| FileError::at(path, line, text))?;
            let Some(rule) = rule else { continue };
            if rule.publish {
                rules.publish.add(rule.clone());
            }
            if rule.subscribe {
                rules.subscribe.add(rule);
            }
        }
        Ok(rules)
    }

    pub(crate) fn len(&self) -> usize {
        let lines = |table: &Table| table.rules.iter().map(|rule| rule.line).collect::<Vec<_>>();
        let (mut all, more) = (lines(&self.publish), lines(&self.subscribe));
        all.extend(more);
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    pub(crate) fn judge_publish(
        &self,
        subject: &Subject<'_>,
        topic: &str,
        qos: Qos,
        retain: bool,
    ) -> Result<(), Denial> {
        if topic.starts_with('$') {
            return Err(Denial::Reserved);
        }
        let first =
            self.publish.first(subject, topic, |rule| rule.matches_publish(subject, topic, qos, retain));
        match first {
            Some(rule) => verdict(rule),
            None => self.by_default(subject, topic),
        }
    }

    /// `filter` is without `$share/{group}/` and its like.
    pub(crate) fn judge_subscribe(
        &self,
        subject: &Subject<'_>,
        filter: &str,
        qos: Qos,
    ) -> Result<(), Denial> {
        match self.subscribe.first(subject, filter, |rule| rule.matches_subscribe(subject, filter, qos)) {
            Some(rule) => verdict(rule),
            None => self.by_default(subject, filter),
        }
    }

    fn by_default(&self, subject: &Subject<'_>, filter: &str) -> Result<(), Denial> {
        match self.default {
            AclDefault::Deny => Err(Denial::Unmatched),
            AclDefault::Allow if filter.starts_with('$') && !subject.is_on_this_machine() => {
                Err(Denial::Remote)
            }
            AclDefault::Allow => Ok(()),
        }
    }
}

fn verdict(rule: &Rule) -> Result<(), Denial> {
    if rule.allow { Ok(()) } else { Err(Denial::Rule { line: rule.line }) }
}

impl Table {
    fn add(&mut self, rule: Rule) {
        let position = self.rules.len() as u32;
        let levels = rule.first_levels();
        let (lists, names) = match (&*rule.users, &*rule.clients, &levels) {
            ([], [], Some(levels)) => (&mut self.by_level, levels.as_slice()),
            ([], [], None) => (&mut self.by_level, &[][..]),
            ([], clients, _) => (&mut self.by_client, clients),
            (users, ..) => (&mut self.by_user, users),
        };
        for name in names {
            let list = lists.entry(name.clone()).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
        if rule.users.is_empty() && rule.clients.is_empty() {
            self.general.push(position);
            if levels.is_none() {
                self.any_level.push(position);
            }
        }
        self.rules.push(rule);
    }

    /// The first rule in the order of the file that matches a topic or filter.
    fn first(&self, subject: &Subject<'_>, asked: &str, matches: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        fn list(positions: Option<&Positions>) -> &[u32] {
            positions.map_or(&[], Vec::as_slice)
        }
        let level = asked.split('/').next().unwrap_or_default();
        // A wildcard may meet a part of any rule.
        let (level, any) = match level {
            "+" | "#" => (None, &self.general),
            level => (self.by_level.get(level), &self.any_level),
        };
        let user = subject.username().and_then(|name| self.by_user.get(name));
        let client = self.by_client.get(subject.client_id);
        let mut lists = [any.as_slice(), list(level), list(user), list(client)];
        loop {
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let rule = &self.rules[next[0] as usize];
            if matches(rule) {
                return Some(rule);
            }
            *next = &next[1..];
        }
    }
}
