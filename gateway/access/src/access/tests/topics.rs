use super::*;
use crate::AclDefault;

#[test]
fn without_rules_all_is_open_but_the_topics_of_the_gateway() {
    let access = Access::new(config(Anonymous::Always));
    assert_eq!(access.generation(), 0);
    let nobody = Identity::default();
    let publish = |topic| {
        let topic = Topic::parse(topic).unwrap();
        access.may_publish(&subject(&nobody, "c", LOCAL), &topic, Qos::AtMostOnce, false)
    };
    assert_eq!(publish("a/$b"), Ok(()));
    assert_eq!(publish("$SYS/broker/uptime"), Err(Denial::Reserved));
    assert_eq!(publish("$anything"), Err(Denial::Reserved));
    for (filter, remote) in
        [("#", Ok(())), ("$SYS/#", Err(Denial::Remote)), ("$share/g/$SYS/x", Err(Denial::Remote))]
    {
        let filter = TopicFilter::parse(filter).unwrap();
        let subscribe =
            |address| access.may_subscribe(&subject(&nobody, "c", address), &filter, Qos::AtMostOnce);
        assert_eq!((subscribe(LOCAL), subscribe(REMOTE)), (Ok(()), remote), "{filter}");
        assert_eq!(access.may_read(&subject(&nobody, "c", REMOTE), &filter), remote);
    }
}

/// An access with these rules.
fn ruled(text: &str, default: AclDefault) -> Access {
    let access = Access::new(Config { acl_file: "acl".into(), acl_default: default, ..Config::default() });
    let rules = Rules::parse("acl".as_ref(), text, default).unwrap_or_else(|error| panic!("{error}"));
    *access.rules.write() = Arc::new(rules);
    access
}

/// Who asks, in words: `user client address`, with `-` for no user.
fn asker<T>(who: &str, ask: impl FnOnce(&Subject<'_>) -> T) -> T {
    let words: Vec<_> = who.split(' ').collect();
    let [user, client_id, address] = words[..] else { panic!("{who}") };
    let identity = match user {
        "-" => Identity::default(),
        user => Identity { username: Some(user.into()), way: Way::User },
    };
    ask(&subject(&identity, client_id, &format!("{address}:1")))
}

fn publishes(access: &Access, who: &str, topic: &str, qos: u8, retain: bool) -> Result<(), Denial> {
    let topic = Topic::parse(topic).unwrap();
    asker(who, |subject| access.may_publish(subject, &topic, Qos::from_u8(qos).unwrap(), retain))
}

fn subscribes(access: &Access, who: &str, filter: &str) -> Result<(), Denial> {
    let filter = TopicFilter::parse(filter).unwrap();
    asker(who, |subject| access.may_subscribe(subject, &filter, Qos::AtLeastOnce))
}

fn by(line: u32) -> Result<(), Denial> {
    Err(Denial::Rule { line })
}

#[test]
fn the_first_rule_that_matches_decides() {
    let access = ruled(
        "# of the plant\n\
         allow publish devices/${clientid}/# user=press-17 qos=0,1 retain=false\n\
         deny all secret/# address=10.0.0.0/8\n\
         allow subscribe $SYS/# address=127.0.0.1\n\
         deny publish #  anonymous=true\n\
         allow all public/# secret/#\n\
         allow all own/${username}\n",
        AclDefault::Deny,
    );
    let press = "press-17 c1 192.0.2.1";
    assert_eq!(publishes(&access, press, "devices/c1/t", 1, false), Ok(()));
    assert_eq!(publishes(&access, press, "devices/c2/t", 1, false), Err(Denial::Unmatched));
    assert_eq!(publishes(&access, press, "devices/c1/t", 2, false), Err(Denial::Unmatched));
    assert_eq!(publishes(&access, press, "devices/c1/t", 1, true), Err(Denial::Unmatched));
    assert_eq!(publishes(&access, "other c1 192.0.2.1", "devices/c1/t", 1, false), Err(Denial::Unmatched));
    assert_eq!(publishes(&access, press, "own/press-17", 0, false), Ok(()));
    assert_eq!(publishes(&access, press, "own/other", 0, false), Err(Denial::Unmatched));

    assert_eq!(publishes(&access, "other c 10.1.2.3", "secret/x", 0, false), by(3));
    assert_eq!(publishes(&access, "other c 192.0.2.1", "secret/x", 0, false), Ok(()));
    assert_eq!(publishes(&access, "- c 192.0.2.1", "public/x", 0, false), by(5));
    assert_eq!(subscribes(&access, "- c 192.0.2.1", "public/#"), Ok(()));

    assert_eq!(subscribes(&access, "- c 127.0.0.1", "$SYS/#"), Ok(()));
    assert_eq!(subscribes(&access, "- c 192.0.2.1", "$SYS/#"), Err(Denial::Unmatched));
}

#[test]
fn a_filter_is_allowed_as_a_whole_and_refused_for_a_part() {
    let access = ruled("deny subscribe secret/#\nallow subscribe a/# +/open secret/#", AclDefault::Deny);
    let who = "u c 192.0.2.1";
    assert_eq!(subscribes(&access, who, "a/+/c"), Ok(()));
    assert_eq!(subscribes(&access, who, "$share/g/a/#"), Ok(()));
    assert_eq!(subscribes(&access, who, "b/#"), Err(Denial::Unmatched));
    assert_eq!(subscribes(&access, who, "b/open"), Ok(()));
    for filter in ["#", "+/open", "secret", "secret/x", "+", "$share/g/secret/x"] {
        assert_eq!(subscribes(&access, who, filter), by(1), "{filter}");
    }
    // The wildcard of a rule does not reach the gateway's own topics either.
    let open = ruled("allow all #", AclDefault::Deny);
    assert_eq!(subscribes(&open, who, "#"), Ok(()));
    assert_eq!(subscribes(&open, who, "$SYS/#"), Err(Denial::Unmatched));
}

#[test]
fn topics_of_the_gateway_are_not_published_on_whatever_the_rules_say() {
    let access = ruled("allow all $SYS/#\nallow all #", AclDefault::Allow);
    assert_eq!(publishes(&access, "u c 127.0.0.1", "$SYS/x", 0, false), Err(Denial::Reserved));
}

#[test]
fn an_open_default_leaves_the_gateway_s_topics_to_this_machine() {
    let access = ruled("deny all a", AclDefault::Allow);
    assert_eq!(publishes(&access, "u c 192.0.2.1", "b", 0, false), Ok(()));
    assert_eq!(publishes(&access, "u c 192.0.2.1", "a", 0, false), by(1));
    assert_eq!(subscribes(&access, "u c 192.0.2.1", "$SYS/#"), Err(Denial::Remote));
    assert_eq!(subscribes(&access, "u c 127.0.0.1", "$SYS/#"), Ok(()));
}

#[test]
fn an_exact_filter_refuses_the_wildcard_itself_only() {
    let access = ruled("deny subscribe =#\nallow all #", AclDefault::Deny);
    assert_eq!(subscribes(&access, "u c 192.0.2.1", "#"), by(1));
    assert_eq!(subscribes(&access, "u c 192.0.2.1", "a/#"), Ok(()));
    assert_eq!(publishes(&access, "u c 192.0.2.1", "a", 0, false), Ok(()));
}

#[test]
fn rules_of_users_and_clients_keep_their_place_among_the_others() {
    let access = ruled(
        "deny publish a user=u\nallow publish a b client=c\ndeny publish b\nallow publish # user=u user=v client=c",
        AclDefault::Deny,
    );
    let publish = |who: &str, topic: &str| publishes(&access, &format!("{who} 192.0.2.1"), topic, 0, false);
    assert_eq!(publish("u c", "a"), by(1));
    assert_eq!(publish("v c", "a"), Ok(()));
    assert_eq!(publish("u c", "b"), Ok(()));
    assert_eq!(publish("u d", "b"), by(3));
    assert_eq!((publish("v c", "x"), publish("v d", "x")), (Ok(()), Err(Denial::Unmatched)));
}

#[test]
fn reading_what_is_retained_needs_leave_at_some_qos() {
    let access = ruled("allow subscribe a qos=2", AclDefault::Deny);
    let read = |filter| {
        let filter = TopicFilter::parse(filter).unwrap();
        asker("u c 192.0.2.1", |subject| access.may_read(subject, &filter))
    };
    assert_eq!((read("a"), read("b")), (Ok(()), Err(Denial::Unmatched)));
}

#[test]
fn rules_keep_their_place_whatever_their_filters_begin_with() {
    let access = ruled(
        "allow all a/x\ndeny all +/x\nallow all b/x a/# =+/c\ndeny all a/y b/y\nallow all #",
        AclDefault::Deny,
    );
    let publish = |topic| publishes(&access, "u c 192.0.2.1", topic, 0, false);
    assert_eq!((publish("a/x"), publish("b/x"), publish("c/x")), (Ok(()), by(2), by(2)));
    assert_eq!((publish("a/y"), publish("b/y"), publish("a")), (Ok(()), by(4), Ok(())));
    let subscribe = |filter| subscribes(&access, "u c 192.0.2.1", filter);
    assert_eq!((subscribe("+/c"), subscribe("a/#"), subscribe("#")), (Ok(()), by(2), by(2)));
    assert_eq!((subscribe("+/y"), subscribe("+/z"), subscribe("b/#")), (by(4), Ok(()), by(2)));
}
