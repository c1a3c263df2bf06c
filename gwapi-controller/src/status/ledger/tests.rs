//! The ledger without an API server: requests are answered by hand.

use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayClassStatus, RouteStatus,
};
use serde_json::json;

use super::*;
use crate::status::OwnedFields;

const US: &str = "gwapi.dev/gateway-controller";

fn class() -> ObjectId {
    ObjectId::new(Kind::GatewayClass, "", "gwapi")
}

fn route() -> ObjectId {
    ObjectId::new(Kind::HttpRoute, "default", "shop")
}

fn observed(version: u64, status: Value) -> Observed {
    Observed {
        resource_version: version.to_string(),
        uid: 1,
        generation: 1,
        status: status.to_string().into(),
        owned: OwnedFields::default(),
    }
}

fn accepted(message: &str) -> Status {
    accepted_of(1, message)
}

/// The same of a generation.
fn accepted_of(generation: i64, message: &str) -> Status {
    let (condition_type, status) = (ConditionType::Accepted, ConditionStatus::True);
    let reason = ConditionReason::Accepted;
    Status::GatewayClass(Box::new(GatewayClassStatus {
        conditions: vec![Condition::new(condition_type, status, reason, message, generation)],
        supported_features: Vec::new(),
    }))
}

/// A ledger with the class in its first version, and whoever plays the API server.
struct Test {
    ledger: Ledger,
    now: Now,
}

impl Test {
    fn new() -> Self {
        let time = "2025-06-07T08:09:10Z".parse().expect("a time");
        let mut ledger = Ledger::new(US);
        ledger.lead(true);
        ledger.observe(class(), Heard::Changed(observed(1, Value::Null)));
        ledger.judged(vec![class()]);
        Self { ledger, now: Now { instant: Instant::now(), time } }
    }

    fn want(&mut self, batch: u64, status: Option<Status>) {
        self.ledger.announce(&class(), batch);
        self.ledger.want(class(), batch, status);
    }

    fn next(&mut self) -> Option<Request> {
        self.ledger.next(self.now)
    }

    /// The message of a write that is asked for, and the version that it is based on.
    fn next_write(&mut self) -> Option<(String, String)> {
        match self.next()? {
            Request::Write(_, patch) => {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                let message = text(&patch["status"]["conditions"][0]["message"]);
                Some((message, text(&patch["metadata"]["resourceVersion"])))
            }
            read => panic!("expected a write, found {read:?}"),
        }
    }

    /// Answers a write: the object has this message now.
    fn written(&mut self, version: u64, message: &str) {
        let status = Stored { kind: Kind::GatewayClass, status: &Value::Null, generation: 1 };
        let status = merge(status, &accepted(message), US, self.now.time).status;
        let now = observed(version, status.expect("a change"));
        self.ledger.done(class(), Outcome::Written(now), self.now);
    }
}

fn pair(message: &str, version: &str) -> Option<(String, String)> {
    Some((message.to_owned(), version.to_owned()))
}

#[test]
fn what_is_as_it_should_be_is_not_written() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    assert_eq!(test.next_write(), pair("", "1"));
    test.written(2, "");
    assert_eq!(test.next(), None);
    test.want(2, Some(accepted("")));
    assert_eq!(test.next(), None);
    assert_eq!(test.ledger.unchanged, 2);
}

#[test]
fn the_newest_status_is_written_after_the_one_that_is_under_way() {
    let mut test = Test::new();
    test.want(1, Some(accepted("first")));
    assert_eq!(test.next_write(), pair("first", "1"));
    test.want(2, Some(accepted("second")));
    test.want(3, Some(accepted("third")));
    assert_eq!(test.next(), None, "one request at a time");
    test.written(2, "first");
    assert_eq!(test.next_write(), pair("third", "2"));
    // A batch that was held up by slow proxies does not undo a later one.
    test.ledger.want(class(), 2, Some(accepted("second")));
    test.written(3, "third");
    assert_eq!(test.next(), None);
}

#[test]
fn after_a_conflict_the_object_is_read_and_the_rest_merged_anew() {
    let mut test = Test::new();
    test.want(1, Some(accepted("ours")));
    assert_eq!(test.next_write(), pair("ours", "1"));
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
    let theirs = json!({"conditions": [{"type": "example.com/Audited"}]});
    test.ledger.done(class(), Outcome::Read(observed(7, theirs)), test.now);
    let Some(Request::Write(_, patch)) = test.next() else { panic!("a write") };
    assert_eq!(patch["status"]["conditions"][0]["type"], "example.com/Audited");
    assert_eq!(patch["status"]["conditions"][1]["message"], "ours");
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
}

#[test]
fn a_watch_that_lags_behind_our_own_write_causes_none() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    assert!(test.next().is_some());
    test.written(5, "");
    test.ledger.observe(class(), Heard::Changed(observed(4, Value::Null)));
    assert_eq!(test.next(), None);
}

#[test]
fn whoever_does_not_lead_writes_nothing_and_forgets_what_was_to_be_written() {
    let mut test = Test::new();
    test.want(1, Some(accepted("old")));
    test.ledger.lead(false);
    assert_eq!(test.next(), None);
    test.ledger.lead(true);
    assert_eq!(test.next(), None, "the world may have changed since");
    test.want(2, Some(accepted("new")));
    assert_eq!(test.next_write(), pair("new", "1"));
}

#[test]
fn failures_are_followed_by_growing_pauses() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    for pause in [200, 400, 800] {
        assert!(test.next().is_some());
        let failed = Outcome::Failed("gone fishing".to_owned(), Duration::ZERO);
        test.ledger.done(class(), failed, test.now);
        assert_eq!(test.next(), None);
        let deadline = test.now.instant + Duration::from_millis(pause);
        assert_eq!(test.ledger.deadline(), Some(deadline));
        test.now.instant = deadline;
    }
    assert!(test.next().is_some());
}

#[test]
fn somebody_who_undoes_our_status_is_answered_more_and_more_slowly() {
    let mut test = Test::new();
    test.want(1, Some(accepted("ours")));
    assert!(test.next().is_some());
    test.written(2, "ours");
    let mut version = 2;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        version += 1;
        test.ledger.observe(class(), Heard::Changed(observed(version, json!({}))));
        let before = test.now.instant;
        if test.next().is_none() {
            test.now.instant = test.ledger.deadline().expect("a later attempt");
            assert!(test.next().is_some());
        }
        pauses.push(test.now.instant - before);
        version += 1;
        test.written(version, "ours");
    }
    assert_eq!(pauses.map_millis(), [0, 200, 400, 800]);
}

trait MapMillis {
    fn map_millis(&self) -> Vec<u128>;
}

impl MapMillis for Vec<Duration> {
    fn map_millis(&self) -> Vec<u128> {
        self.iter().map(Duration::as_millis).collect()
    }
}

#[test]
fn what_the_server_refuses_is_not_tried_again_until_something_changes() {
    let mut test = Test::new();
    test.want(1, Some(accepted("bad")));
    assert!(test.next().is_some());
    test.ledger.done(class(), Outcome::Refused("too long".to_owned()), test.now);
    assert_eq!(test.next(), None);
    test.want(2, Some(accepted("good")));
    assert_eq!(test.next_write(), pair("good", "1"));
}

/// ST-7
#[test]
fn entries_of_ours_from_an_earlier_life_go_when_all_is_known_and_not_before() {
    let mut test = Test::new();
    let parents = json!({"parents": [
        {"controllerName": US, "parentRef": {"name": "old"}, "conditions": []},
        {"controllerName": "example.com/other", "parentRef": {"name": "a"}, "conditions": []},
    ]});
    test.ledger.observe(route(), Heard::Changed(observed(3, parents)));
    test.ledger.judged(vec![route()]);
    assert_eq!(test.next(), None);
    test.ledger.complete();
    let Some(Request::Write(id, patch)) = test.next() else { panic!("a write") };
    assert_eq!(id, route());
    let controllers = &patch["status"]["parents"];
    assert_eq!(controllers.as_array().map(Vec::len), Some(1));
    assert_eq!(controllers[0]["controllerName"], "example.com/other");
    // The class is not ours to say anything about.
    assert_eq!(test.next(), None);
}

/// A route that has an entry of ours.
fn with_entry() -> Observed {
    let entry = json!({"controllerName": US, "parentRef": {"name": "web"}, "conditions": []});
    observed(3, json!({"parents": [entry]}))
}

/// It may be the first that is heard of an object that has our status: a backup was played back, or its namespace
/// is watched from now on.
#[test]
fn what_a_new_object_has_of_ours_is_not_withdrawn_before_it_is_known_what_is_to_be_said_of_it() {
    let mut test = Test::new();
    test.ledger.complete();
    assert_eq!(test.next(), None);
    test.ledger.observe(route(), Heard::Listed(with_entry()));
    assert_eq!(test.next(), None, "nobody has looked at it");
    test.ledger.announce(&route(), 1);
    test.ledger.judged(vec![route()]);
    assert_eq!(test.next(), None, "proxies are waited for");

    // Nothing is to be said of this one.
    let other = ObjectId::new(Kind::HttpRoute, "default", "other");
    test.ledger.observe(other.clone(), Heard::Listed(with_entry()));
    assert_eq!(test.next(), None);
    test.ledger.judged(vec![other.clone()]);
    assert!(matches!(test.next(), Some(Request::Write(id, _)) if id == other));
}

/// One that waits for what it refers to may be there for a while.
#[test]
fn a_new_object_that_ends_before_it_is_judged_is_forgotten() {
    let mut test = Test::new();
    test.ledger.observe(route(), Heard::Changed(with_entry()));
    test.ledger.observe(route(), Heard::Gone);
    assert!(!test.ledger.entries.contains_key(&route()));
}

/// The batches of one step wait for proxies each by itself.
#[test]
fn what_was_announced_of_a_new_object_first_is_written_while_what_was_announced_next_is_held_up() {
    let mut test = Test::new();
    test.ledger.observe(route(), Heard::Changed(with_entry()));
    test.ledger.announce(&route(), 1);
    test.ledger.announce(&route(), 2);
    test.ledger.judged(vec![route()]);
    let none = Status::Route(RouteStatus { parents: Vec::new().into() });
    test.ledger.want(route(), 1, Some(none));
    assert!(matches!(test.next(), Some(Request::Write(..))));
}

#[test]
fn what_is_announced_and_waits_for_proxies_is_not_withdrawn_meanwhile() {
    let mut test = Test::new();
    test.ledger.observe(route(), Heard::Changed(with_entry()));
    test.ledger.announce(&route(), 1);
    test.ledger.judged(vec![route()]);
    test.ledger.complete();
    assert_eq!(test.next(), None);
    let none = Status::Route(RouteStatus { parents: Vec::new().into() });
    test.ledger.want(route(), 1, Some(none));
    assert!(matches!(test.next(), Some(Request::Write(..))));
}

#[test]
fn an_object_that_is_gone_is_forgotten() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    assert!(test.next().is_some());
    test.ledger.observe(class(), Heard::Gone);
    test.want(2, None);
    test.ledger.done(class(), Outcome::Gone, test.now);
    assert_eq!(test.next(), None);
    assert!(test.ledger.entries.is_empty());
}

#[test]
fn an_object_that_ends_while_it_is_written_is_forgotten() {
    let outcomes: [fn() -> Outcome; 3] = [
        || Outcome::Written(observed(2, Value::Null)),
        || Outcome::Conflict,
        || Outcome::Failed("gone fishing".to_owned(), Duration::ZERO),
    ];
    for outcome in outcomes {
        for is_told_before in [true, false] {
            let mut test = Test::new();
            test.want(1, Some(accepted("")));
            assert!(test.next().is_some());
            test.ledger.observe(class(), Heard::Gone);
            if is_told_before {
                test.want(2, None);
            }
            test.ledger.done(class(), outcome(), test.now);
            if !is_told_before {
                test.want(2, None);
            }
            assert_eq!(test.next(), None);
            assert!(test.ledger.entries.is_empty(), "{:?}", outcome());
        }
    }
}

/// An API server whose storage was restored from a backup goes on with the versions of that time.
#[test]
fn a_version_that_goes_back_is_taken_from_a_read_and_from_a_list() {
    let known = |test: &mut Test| {
        test.ledger.observe(class(), Heard::Changed(observed(1000, Value::Null)));
        test.want(1, Some(accepted("ours")));
        assert_eq!(test.next_write(), pair("ours", "1000"));
    };
    let mut test = Test::new();
    known(&mut test);
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
    test.ledger.done(class(), Outcome::Read(observed(501, Value::Null)), test.now);
    assert_eq!(test.next_write(), pair("ours", "501"));

    let mut test = Test::new();
    known(&mut test);
    test.written(1001, "ours");
    assert_eq!(test.next(), None);
    test.ledger.observe(class(), Heard::Listed(observed(501, Value::Null)));
    assert_eq!(test.next_write(), pair("ours", "501"));
}

#[test]
fn what_is_heard_while_an_object_is_read_is_not_lost() {
    let mut test = Test::new();
    test.want(1, Some(accepted("ours")));
    assert!(test.next().is_some());
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
    test.ledger.observe(class(), Heard::Changed(observed(8, Value::Null)));
    test.ledger.done(class(), Outcome::Read(observed(7, Value::Null)), test.now);
    assert_eq!(test.next_write(), pair("ours", "8"));
}

#[test]
fn conflicts_in_a_row_are_followed_by_pauses_below_a_second() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    let mut pauses = Vec::new();
    for version in 2..7 {
        assert!(test.next_write().is_some());
        test.ledger.done(class(), Outcome::Conflict, test.now);
        let before = test.now.instant;
        let read = test.next().or_else(|| {
            test.now.instant = test.ledger.deadline().expect("a later attempt");
            test.next()
        });
        assert_eq!(read, Some(Request::Read(class())));
        pauses.push(test.now.instant - before);
        let read = Outcome::Read(observed(version, Value::Null));
        test.ledger.done(class(), read, test.now);
    }
    assert_eq!(pauses.map_millis(), [0, 200, 400, 500, 500]);
    // A write that succeeds ends the row.
    assert!(test.next().is_some());
    test.written(7, "");
    test.want(2, Some(accepted("more")));
    assert!(test.next().is_some());
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
}

#[test]
fn a_class_and_a_gateway_do_not_wait_behind_routes() {
    let mut test = Test::new();
    let none = || Status::Route(RouteStatus { parents: Vec::new().into() });
    let routes = ["a", "b", "c"].map(|name| ObjectId::new(Kind::HttpRoute, "default", name));
    for route in &routes {
        let stored = json!({"parents": [
            {"controllerName": US, "parentRef": {"name": "web"}, "conditions": []}]});
        test.ledger.observe(route.clone(), Heard::Changed(observed(1, stored)));
    }
    test.ledger.judged(routes.to_vec());
    for route in &routes {
        test.ledger.announce(route, 1);
        test.ledger.want(route.clone(), 1, Some(none()));
    }
    test.want(1, Some(accepted("")));
    let mut order = Vec::new();
    while let Some(request) = test.next() {
        let (Request::Write(id, _) | Request::Read(id)) = request;
        order.push(id);
    }
    assert_eq!(order.first(), Some(&class()));
    assert_eq!(order[1..], routes);
}

/// A thousand routes within ten seconds, each of which changes what a Gateway says, at an API server that
/// answers in 5 ms.
#[test]
fn what_changes_all_the_time_is_written_now_and_then_and_its_last_state_soon() {
    let mut test = Test::new();
    let (mut version, mut writes, mut under_way) = (1, 0, None);
    let mut last = String::new();
    let end = test.now.instant + Duration::from_secs(10);
    let mut step = 0;
    while test.now.instant < end || test.ledger.deadline().is_some() || under_way.is_some() {
        if step % 2 == 0 && test.now.instant < end {
            test.want(step, Some(accepted(&format!("{} routes", step / 2 + 1))));
        }
        if let Some((message, _)) = test.next_write() {
            under_way = Some(message);
        }
        test.now.instant += Duration::from_millis(5);
        step += 1;
        if let Some(message) = under_way.take() {
            version += 1;
            writes += 1;
            test.written(version, &message);
            last = message;
            if test.ledger.deadline().is_none()
                && let Some((message, _)) = test.next_write()
            {
                under_way = Some(message);
            }
        }
    }
    assert!(writes < 100, "{writes} writes");
    assert_eq!(last, "1000 routes");
    let late = test.now.instant - end;
    assert!(late <= Duration::from_secs(1), "the last state came after {late:?}");
}

#[test]
fn edits_of_one_object_are_written_at_once() {
    let mut test = Test::new();
    for edit in 1..=100 {
        let (version, generation) = (edit, i64::try_from(edit).expect("a few"));
        let edited = Observed { generation, ..observed(version, Value::Null) };
        test.ledger.observe(class(), Heard::Changed(edited.clone()));
        let message = edit.to_string();
        test.want(edit, Some(accepted_of(generation, &message)));
        assert_eq!(test.next_write(), pair(&message, &message));
        test.ledger.done(class(), Outcome::Written(edited), test.now);
    }
}

/// A batch that was held up by slow proxies is about an object that may be gone by then.
#[test]
fn a_late_batch_does_not_bring_back_what_is_gone() {
    let mut test = Test::new();
    test.ledger.announce(&class(), 1);
    test.ledger.observe(class(), Heard::Gone);
    test.want(2, None);
    test.ledger.want(class(), 1, Some(accepted("of the former one")));
    assert!(test.ledger.entries.is_empty());

    // Another one of the name comes while the batch is still held up.
    let mut test = Test::new();
    test.ledger.announce(&class(), 1);
    test.ledger.observe(class(), Heard::Gone);
    test.want(2, None);
    test.ledger.observe(class(), Heard::Changed(observed(9, Value::Null)));
    test.ledger.want(class(), 1, Some(accepted("of the former one")));
    test.ledger.judged(vec![class()]);
    assert_eq!(test.next(), None);
    test.want(3, Some(accepted("its own")));
    assert_eq!(test.next_write(), pair("its own", "9"));
}

/// Of an object that ends and comes back within one step there may be nothing new to say.
#[test]
fn a_late_batch_counts_for_an_object_that_was_made_anew_with_nothing_new_to_say() {
    let mut test = Test::new();
    test.ledger.announce(&class(), 1);
    test.ledger.observe(class(), Heard::Gone);
    test.ledger.observe(class(), Heard::Changed(successor()));
    test.ledger.judged(vec![class()]);
    test.ledger.want(class(), 1, Some(accepted("")));
    assert_eq!(test.next_write(), pair("", "9"));
}

/// Another object of the name.
fn successor() -> Observed {
    Observed { uid: 2, ..observed(9, Value::Null) }
}

/// Its generation may be lower than that of the former one, and its spec another.
#[test]
fn what_was_said_of_a_former_object_is_not_said_of_the_one_that_has_its_name() {
    let ends: [fn(&mut Test); 2] = [
        |test| test.ledger.observe(class(), Heard::Listed(successor())),
        |test| {
            test.ledger.observe(class(), Heard::Gone);
            test.ledger.observe(class(), Heard::Changed(successor()));
        },
    ];
    for end in ends {
        let mut test = Test::new();
        test.want(1, Some(accepted_of(5, "of the former one")));
        end(&mut test);
        assert_eq!(test.next(), None, "it is not known yet whether that holds");
        // What is said of it waits for proxies.
        test.ledger.announce(&class(), 2);
        test.ledger.judged(vec![class()]);
        assert_eq!(test.next(), None);
        test.ledger.want(class(), 1, Some(accepted_of(5, "of the former one, later")));
        assert_eq!(test.next(), None);
        test.ledger.want(class(), 2, Some(accepted("its own")));
        assert_eq!(test.next_write(), pair("its own", "9"));
    }
}

#[test]
fn what_holds_for_a_former_object_and_its_successor_is_said_of_both() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    assert_eq!(test.next_write(), pair("", "1"));
    test.written(2, "");
    test.ledger.observe(class(), Heard::Listed(successor()));
    assert_eq!(test.next(), None);
    test.ledger.judged(vec![class()]);
    assert_eq!(test.next_write(), pair("", "9"));
    test.ledger.judged(vec![class(), route()]);
    assert_eq!(test.next(), None);
}

/// A read after a conflict may tell of it before the watch does.
#[test]
fn an_answer_about_a_successor_counts_when_that_is_judged() {
    let mut test = Test::new();
    test.want(1, Some(accepted("of the former one")));
    assert!(test.next_write().is_some());
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
    test.ledger.done(class(), Outcome::Read(successor()), test.now);
    assert_eq!(test.next(), None);
    test.ledger.observe(class(), Heard::Changed(successor()));
    test.want(2, Some(accepted("its own")));
    test.ledger.judged(vec![class()]);
    assert_eq!(test.next_write(), pair("its own", "9"));
}

#[test]
fn what_is_gone_when_another_leads_is_forgotten() {
    let mut test = Test::new();
    test.ledger.announce(&class(), 1);
    test.ledger.observe(class(), Heard::Gone);
    test.ledger.lead(false);
    assert!(test.ledger.entries.is_empty());
}

/// The API server may not have the kind for a moment, or the request met the end of a former object of that
/// name.
#[test]
fn an_object_that_is_not_found_is_written_later_unless_the_watch_says_that_it_is_gone() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    for pause in [200, 400] {
        assert_eq!(test.next_write(), pair("", "1"));
        test.ledger.done(class(), Outcome::Gone, test.now);
        assert_eq!(test.next(), None, "there is a pause");
        let deadline = test.now.instant + Duration::from_millis(pause);
        assert_eq!(test.ledger.deadline(), Some(deadline));
        test.now.instant = deadline;
    }
    assert_eq!(test.next_write(), pair("", "1"));
    test.ledger.done(class(), Outcome::Gone, test.now);
    test.want(2, Some(accepted("more")));
    // It is there again, and nobody has to wait for that any more.
    test.ledger.observe(class(), Heard::Listed(observed(1, Value::Null)));
    assert_eq!(test.next_write(), pair("more", "1"));
    test.ledger.done(class(), Outcome::Gone, test.now);
    test.ledger.observe(class(), Heard::Gone);
    test.want(3, None);
    assert_eq!(test.next(), None);
    assert!(test.ledger.entries.is_empty());
}

#[test]
fn an_object_that_is_gone_is_not_read() {
    let mut test = Test::new();
    test.want(1, Some(accepted("")));
    assert!(test.next_write().is_some());
    test.ledger.done(class(), Outcome::Conflict, test.now);
    test.ledger.observe(class(), Heard::Gone);
    assert_eq!(test.next(), None);
    test.want(2, None);
    assert!(test.ledger.entries.is_empty());
}

#[test]
fn an_edit_whose_write_has_failed_does_not_wait_for_a_place_either() {
    let mut test = Test::new();
    let mut version = 1;
    for batch in 1..=u64::from(AT_ONCE) {
        let message = batch.to_string();
        test.want(batch, Some(accepted(&message)));
        assert!(test.next_write().is_some());
        version += 1;
        test.written(version, &message);
        assert_eq!(test.next(), None);
    }
    let edited = Observed { generation: 2, ..observed(version + 1, Value::Null) };
    test.ledger.observe(class(), Heard::Changed(edited.clone()));
    test.want(100, Some(accepted_of(2, "edited")));
    assert!(test.next_write().is_some());
    test.ledger.done(class(), Outcome::Conflict, test.now);
    assert_eq!(test.next(), Some(Request::Read(class())));
    let read = Observed { resource_version: (version + 2).to_string(), ..edited };
    test.ledger.done(class(), Outcome::Read(read), test.now);
    assert_eq!(test.next_write(), pair("edited", &(version + 2).to_string()));
}

#[test]
fn what_is_refused_counts_for_what_was_tried_and_not_for_what_came_meanwhile() {
    let mut test = Test::new();
    test.want(1, Some(accepted("bad")));
    assert_eq!(test.next_write(), pair("bad", "1"));
    test.ledger.observe(class(), Heard::Changed(observed(2, Value::Null)));
    test.ledger.done(class(), Outcome::Refused("too long".to_owned()), test.now);
    assert_eq!(test.next_write(), pair("bad", "2"), "it may be taken in this version");
    test.want(2, Some(accepted("good")));
    test.ledger.done(class(), Outcome::Refused("too long".to_owned()), test.now);
    assert_eq!(test.next_write(), pair("good", "2"));
}

#[test]
fn what_is_new_when_a_write_ends_is_no_repair_of_it() {
    let mut test = Test::new();
    test.want(1, Some(accepted("first")));
    assert!(test.next_write().is_some());
    test.want(2, Some(accepted("second")));
    test.written(2, "first");
    assert_eq!(test.next_write(), pair("second", "2"));
    test.written(3, "second");
    let undone = observed(4, json!({}));
    test.ledger.observe(class(), Heard::Changed(undone));
    assert_eq!(test.next_write(), pair("second", "4"), "the first repair is at once");
}
