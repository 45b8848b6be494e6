//! Tables of texts and what they mean, after `flume/sources.md` 5.16 and Gson's lenient reader.

use super::*;

/// Each event as `k=v k=v | body`.
#[track_caller]
fn read(text: &str) -> Result<Vec<String>, String> {
    read_with(text.as_bytes(), EventLimits::default())
}

#[track_caller]
fn read_with(text: &[u8], limits: EventLimits) -> Result<Vec<String>, String> {
    let batch = read_events(text.to_vec(), limits).map_err(|error| error.to_string())?;
    let event = |event: crate::event::EventView<'_>| {
        let headers: String = event.headers().map(|(k, v)| format!("{k}={v} ")).collect();
        format!("{headers}| {}", std::str::from_utf8(event.body()).unwrap())
    };
    Ok(batch.iter().map(event).collect())
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(
        read(text).as_deref(),
        Ok(expected.map_owned().as_slice()),
        "{text}"
    );
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|s| (*s).to_owned()).collect()
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(read(text), Err(expected.to_owned()), "{text}");
}

#[test]
fn events_have_headers_and_a_body_or_not() {
    check(r#"[{"headers":{"a":"b"},"body":"x"}]"#, &["a=b | x"]);
    check("[]", &[]);
    check(" [ ] ", &[]);
    check("[{}]", &["| "]);
    check(r#"[{"body":"x"},{"headers":{"a":"b"}}]"#, &["| x", "a=b | "]);
    check(r#"[{"body":"x","headers":{"a":"b","c":"d"}}]"#, &["a=b c=d | x"]);
    check(r#"[{"headers":{},"body":""}]"#, &["| "]);
    check("[{\"body\":\"h\u{e9}llo\"}]", &["| h\u{e9}llo"]);
}

#[test]
fn numbers_and_booleans_are_their_own_text() {
    check(r#"[{"headers":{"n":1,"t":true},"body":5}]"#, &["n=1 t=true | 5"]);
    check(
        r#"[{"headers":{"a":12.50,"b":-0,"c":1E5,"d":False,"e":007},"body":TRUE}]"#,
        &["a=12.50 b=-0 c=1E5 d=false e=007 | true"],
    );
    check(
        r#"[{"body":123456789012345678901234567890}]"#,
        &["| 123456789012345678901234567890"],
    );
    check("[{body:NaN},{body:-Infinity}]", &["| NaN", "| -Infinity"]);
}

#[test]
fn null_is_as_if_it_were_not_there() {
    check(r#"[{"headers":null,"body":null}]"#, &["| "]);
    check(
        r#"[{"headers":{"a":null,"b":"c","d":NULL},"body":"x"}]"#,
        &["b=c | x"],
    );
    check(r#"[{"headers":{"a":"null"},"body":"null"}]"#, &["a=null | null"]);
}

#[test]
fn other_members_are_ignored_whatever_they_hold() {
    check(
        r#"[{"x":{"y":[1,{"z":null},[],{}],"w":'a'},"body":"b","q":[,],"r":[1,],"s":"\u0041"}]"#,
        &["| b"],
    );
    check(r#"[{"Body":"b","headers ":{"a":"b"}}]"#, &["| "]);
}

#[test]
fn the_last_of_two_equal_members_counts() {
    check(
        r#"[{"body":"1","headers":{"a":"1","b":"1"},"body":"2","headers":{"c":"2"}}]"#,
        &["c=2 | 2"],
    );
    check(
        r#"[{"headers":{"a":"1"},"headers":null,"body":"1","body":null}]"#,
        &["| "],
    );
}

#[test]
fn quotes_may_be_single_or_left_out() {
    check(
        "[{body:'single', headers:{n:1,b:true}}]",
        &["n=1 b=true | single"],
    );
    check(
        "[{'body':plain, headers:{a-b:c.d, \"e\":'f\"g'}}]",
        &["a-b=c.d e=f\"g | plain"],
    );
    check("[{body:it's}]", &["| it's"]);
    check("[{body:3rd}]", &["| 3rd"]);
    check("[{body:nullable},{body:truest}]", &["| nullable", "| truest"]);
    check("[{headers:{null:1,true:2,3:4}}]", &["null=1 true=2 3=4 | "]);
    check("[{headers:{'':x}}]", &["=x | "]);
}

#[test]
fn comments_and_other_separators_are_passed_over() {
    check(
        "# one\n[ // two\r {/* three ** / */body = x; headers => {a=b;c=>d}}/**/; {body/**/:y}/**/]\r\n ",
        &["a=b c=d | x", "| y"],
    );
    check("\u{feff}[{body:x}]", &["| x"]);
    check(")]}'\n[{body:x}]", &["| x"]);
    check("\t\r\n [\n{\"body\" :\t\"x\"\r}\n]\n", &["| x"]);
}

#[test]
fn headers_may_be_a_list_of_pairs() {
    check(
        r#"[{"headers":[["a","b"],["c",1],["d",null]],"body":"x"}]"#,
        &["a=b c=1 | x"],
    );
    check(r#"[{"headers":[]}]"#, &["| "]);
    refused(r#"[{"headers":[["a"]]}]"#, "byte 17: expected a comma");
    refused(
        r#"[{"headers":[[null,"b"]]}]"#,
        "byte 18: expected a text: the name of a header",
    );
    refused(
        r#"[{"headers":["a"]}]"#,
        "byte 13: expected a header as a pair: [",
    );
}

#[test]
fn escapes_are_undone() {
    check(
        r#"[{"body":"a\"b\\c\/d\be\ff\ng\rh\ti\u0041\u00e9\u20ac\ud83d\ude00z","headers":{"\u006b":"\u0076\n"}}]"#,
        &["k=v\n | a\"b\\c/d\u{8}e\u{c}f\ng\rh\tiA\u{e9}\u{20ac}\u{1f600}z"],
    );
    check(r#"[{"b\u006fdy":"\'"}]"#, &["| '"]);
    check("[{\"body\":\"a\\\nb\nc\td\0\"}]", &["| a\nb\nc\td\0"]);
    check("[{'body':'\\''}]", &["| '"]);
    // The shortest text at the very end of the buffer.
    check("[{body:\"\\n\"}]", &["| \n"]);
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    check(
        r#"[{"body":"\ud800|\udc00|\ud800\ud800|\ud800\u0041|\udc00\ud800"}]"#,
        &["| \u{fffd}|\u{fffd}|\u{fffd}\u{fffd}|\u{fffd}A|\u{fffd}\u{fffd}"],
    );
}

#[test]
fn bytes_that_are_no_utf8_become_the_replacement_character() {
    let read = read_with(
        b"[{\"headers\":{\"a\":\"\xff\"},\"body\":\"x\xc3y\"}]",
        EventLimits::default(),
    );
    assert_eq!(read.unwrap(), ["a=\u{fffd} | x\u{fffd}y"]);
}

#[test]
fn what_is_no_list_of_events_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "byte 0: expected an array of events: ["),
        ("  ", "byte 2: expected an array of events: ["),
        ("null", "byte 0: expected an array of events: ["),
        (r#"{"body":"x"}"#, "byte 0: expected an array of events: ["),
        ("[null]", "byte 1: expected an event: {"),
        ("[1]", "byte 1: expected an event: {"),
        ("[,]", "byte 1: expected an event: {"),
        ("[[]]", "byte 1: expected an event: {"),
        ("[{},]", "byte 4: expected an event: {"),
        ("[{}", "byte 3: expected a comma or ]"),
        ("[{}}", "byte 3: expected a comma or ]"),
        ("[{} {}]", "byte 4: expected a comma or ]"),
        ("[{}] x", "byte 5: expected the end of the text after the array"),
        ("[{}][]", "byte 4: expected the end of the text after the array"),
        (
            "[{}] // x",
            "byte 5: expected the end of the text after the array",
        ),
        ("[", "byte 1: expected an event or ]"),
        ("[{", "byte 2: expected a name or }"),
        ("[{body", "byte 6: expected a colon"),
        ("[{body:", "byte 7: expected a text: the body"),
        ("[{body:}]", "byte 7: expected a text: the body"),
        ("[{body:{}}]", "byte 7: expected a text: the body"),
        ("[{body:[]}]", "byte 7: expected a text: the body"),
        ("[{body:x", "byte 8: expected a comma or }"),
        ("[{body:x,}]", "byte 9: expected a name"),
        ("[{body:'x", "byte 9: expected a closing quote"),
        (
            "[{body:'x\\",
            "byte 9: expected an escape: one of \\\" \\' \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
        ),
        (
            "[{body:'\\x'}]",
            "byte 8: expected an escape: one of \\\" \\' \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
        ),
        (
            "[{body:'\\u12'}]",
            "byte 8: expected four hexadecimal digits after \\u",
        ),
        (
            "[{body:'\\u+123'}]",
            "byte 8: expected four hexadecimal digits after \\u",
        ),
        ("[{body:a b}]", "byte 9: expected a comma or }"),
        ("[{headers:x}]", "byte 10: expected headers: an object"),
        (
            "[{headers:{a:{}}}]",
            "byte 13: expected a text: the value of a header",
        ),
        (
            "[{headers:{a:[]}}]",
            "byte 13: expected a text: the value of a header",
        ),
        ("[{x:}]", "byte 4: expected a value"),
        ("[{x:,}]", "byte 4: expected a value"),
        ("[{x:[}]}]", "byte 5: expected a value"),
        ("[{x:{,}}]", "byte 5: expected a name"),
        (
            "[{x:[1}]",
            "byte 6: expected a comma, or the end of a list or object",
        ),
        ("[/* ", "byte 4: expected the end of a comment: */"),
        ("[/]", "byte 1: expected an event: {"),
        ("[{\u{c}}]", "byte 2: expected a name"),
    ] {
        refused(text, expected);
    }
}

#[test]
fn a_header_that_is_there_twice_is_refused_as_in_flume() {
    refused(
        r#"[{"headers":{"a":"1","a":"2"}}]"#,
        "byte 30: expected headers with different names",
    );
    check(r#"[{"headers":{"a":null,"a":"2"}}]"#, &["a=2 | "]);
}

#[test]
fn ignored_members_nest_as_deep_as_the_limit_and_no_deeper() {
    let nested = |depth: usize| format!("[{{x:{}1{}}}]", "[".repeat(depth), "]".repeat(depth));
    check(&nested(NESTING_MAX as usize), &["| "]);
    refused(
        &nested(NESTING_MAX as usize + 1),
        "byte 69: expected a value that nests less deep",
    );
    refused(
        &format!("[{{x:{}", "{a:".repeat(100_000)),
        "byte 197: expected a value that nests less deep",
    );
}

#[test]
fn each_limit_of_events_refuses_at_its_edge() {
    let limits = EventLimits {
        events: 2,
        headers: 1,
        key_bytes: 2,
        value_bytes: 2,
        body_bytes: 3,
    };
    let with = |text: &str| read_with(text.as_bytes(), limits);
    assert_eq!(with("[{body:abc,headers:{ab:cd}},{}]").unwrap().len(), 2);
    for (text, expected) in [
        (
            "[{},{},{}]",
            "byte 9: events of a batch: found 3, allowed are at most 2",
        ),
        (
            "[{body:abcd}]",
            "byte 12: bytes of a body: found 4, allowed are at most 3",
        ),
        (
            "[{headers:{a:1,b:2}}]",
            "byte 18: headers of an event: found 2, allowed are at most 1",
        ),
        (
            "[{headers:{abc:1}}]",
            "byte 16: bytes of a header key: found 3, allowed are at most 2",
        ),
        (
            "[{headers:{a:123}}]",
            "byte 16: bytes of a header value: found 3, allowed are at most 2",
        ),
    ] {
        assert_eq!(with(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn bodies_are_slices_of_the_text() {
    let mut text = b"[{\"body\":\"long enough\\n to be seen\",\"headers\":{\"a\":\"b\"}}]".to_vec();
    text.shrink_to_fit();
    let (from, len) = (text.as_ptr() as usize, text.len());
    let batch = read_events(text, EventLimits::default()).unwrap();
    let body = batch.get(0).unwrap().body();
    let at = body.as_ptr() as usize;
    assert!(at > from && at + body.len() < from + len);
    assert_eq!(batch.pinned_bytes(), len);
}
