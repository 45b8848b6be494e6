//! `regex_extractor`: the groups of a Java pattern become headers; Flume's RegexExtractorInterceptor with its two
//! serializers.
//!
//! The first match in the body counts. Group n goes through the n-th serializer into that one's header: as it is
//! (`DEFAULT`), or read as a date in the machine's zone and written as milliseconds since 1970. Groups without a
//! serializer are nobody's; serializers without a group, which Flume passes over, are a warning. A group that took no part
//! sets no header. (Flume sets null, which its own sinks then cannot send.)
//!
//! Failures: a group that is no date of its pattern refuses the whole batch, as in Flume, with the value in the message;
//! the sender decides what becomes of it. A body on which the pattern gives up gets no headers, and neither does a group
//! longer than a header's value may be; both with a line in the log. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::{Keys, nearest};
use crate::component::registry::Type;
use crate::java::date::DatePattern;
use crate::java::regex::Regex;
use jiff::tz::TimeZone;
use proto::event::{Batch, EventEdits, EventLimits, EventView};
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "regex_extractor",
    classes: &["org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, ctx| {
        Ok(Box::new(
            Config::read(keys).build(ctx.name.clone(), TimeZone::system())?,
        ))
    },
};

const PASS_THROUGH: [&str; 2] = [
    "DEFAULT",
    "org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer",
];
const MILLIS: &str = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer";

/// How much of a value a message shows, in characters.
const SHOWN_MAX: usize = 100;

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `regex`: required; found anywhere in the body. None if it is wrong.
    pub regex: Option<Regex>,
    /// `serializers`: required; one for each group, in their order.
    pub serializers: Vec<Serializer>,
}

/// What becomes of a group.
#[derive(Debug, Clone)]
pub struct Serializer {
    /// `serializers.<s>.name`: the header; required.
    pub header: Arc<str>,
    /// `serializers.<s>.type`: DEFAULT in any case, or one of Flume's two classes.
    pub form: Form,
}

/// How a group is written.
#[derive(Debug, Clone)]
pub enum Form {
    /// As it is.
    PassThrough,
    /// A date of this Joda pattern (`serializers.<s>.pattern`, required), as milliseconds since 1970.
    Millis(Box<DatePattern>),
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let pattern = keys.required("regex");
        let regex = Regex::new(&pattern);
        if let Err(error) = &regex {
            keys.wrong("regex", &format!("expected a Java regular expression: {error}"));
        }
        let listed = keys.required("serializers");
        let mut all = keys.below("serializers.");
        let mut serializers = Vec::new();
        for name in listed.split_whitespace() {
            let mut part = all.below(&format!("{name}."));
            serializers.extend(Serializer::read(&mut part));
            all.absorb(part);
        }
        keys.absorb(all);
        let regex = regex.ok();
        let groups = regex.as_ref().map_or(usize::MAX, Regex::group_count);
        if let Some(first) = listed.split_whitespace().nth(groups) {
            let message = format!("groups in the pattern: {groups}; from {first} on nothing is set");
            keys.warn("serializers", "no-effect", message);
        }
        Self { regex, serializers }
    }

    /// The interceptor of the source of this name; dates without a zone of their own are of this one.
    pub fn build(self, source: Arc<str>, zone: TimeZone) -> Result<RegexExtractor, BuildError> {
        let regex = self
            .regex
            .ok_or_else(|| BuildError("regex_extractor: no pattern".to_owned()))?;
        Ok(RegexExtractor {
            source,
            regex,
            serializers: self.serializers,
            zone,
        })
    }
}

impl Serializer {
    fn read(keys: &mut Keys) -> Option<Self> {
        let header = keys.required("name");
        let kind = keys.text("type").unwrap_or_else(|| PASS_THROUGH[0].to_owned());
        let form = if kind == MILLIS {
            let pattern = keys.required("pattern");
            match DatePattern::joda(&pattern) {
                Ok(pattern) => Form::Millis(Box::new(pattern)),
                Err(error) => {
                    keys.wrong(
                        "pattern",
                        &format!("expected a date pattern of Joda, found \"{pattern}\": {error}"),
                    );
                    return None;
                }
            }
        } else if kind.eq_ignore_ascii_case(PASS_THROUGH[0]) || kind == PASS_THROUGH[1] {
            Form::PassThrough
        } else {
            // Its own settings are not known.
            let _ = keys.text("pattern");
            let known = PASS_THROUGH.into_iter().chain([MILLIS]);
            let near = nearest(&kind, known.clone());
            let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
            let list = known.collect::<Vec<_>>().join(", ");
            keys.wrong("type", &format!("expected {list}, found \"{kind}\"{hint}"));
            return None;
        };
        let header = header.into();
        Some(Self { header, form })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct RegexExtractor {
    source: Arc<str>,
    regex: Regex,
    serializers: Vec<Serializer>,
    zone: TimeZone,
}

/// Events that did not get all headers.
#[derive(Debug, Default)]
struct Incomplete {
    given_up: usize,
    too_long: usize,
}

impl RegexExtractor {
    fn extract(
        &self,
        event: EventView<'_>,
        edits: &mut EventEdits,
        left: &mut Incomplete,
    ) -> Result<(), RunError> {
        let text = String::from_utf8_lossy(event.body());
        let groups = match self.regex.try_captures(&text) {
            Ok(Some(groups)) => groups,
            Ok(None) => return Ok(()),
            Err(_) => {
                left.given_up += 1;
                return Ok(());
            }
        };
        for (group, serializer) in groups.iter().skip(1).zip(&self.serializers) {
            let Some(group) = group else {
                continue;
            };
            let value = &text[group.clone()];
            if value.len() > EventLimits::default().value_bytes {
                left.too_long += 1;
                continue;
            }
            match &serializer.form {
                Form::PassThrough => edits.set(&serializer.header, value),
                Form::Millis(pattern) => {
                    let ms = pattern.parse_unix_ms(value, &self.zone).ok_or_else(|| {
                        let shown: String = value.chars().take(SHOWN_MAX).collect();
                        RunError::reject(format!(
                            "regex_extractor: header {}: \"{shown}\" is no date of the pattern \"{}\"",
                            serializer.header,
                            pattern.as_str()
                        ))
                    })?;
                    edits.set(&serializer.header, ms.to_string());
                }
            }
        }
        Ok(())
    }
}

impl Interceptor for RegexExtractor {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut left = Incomplete::default();
        let mut refused = None;
        let mut edit = batch.edit();
        edit.each(|event, edits| {
            if refused.is_none() {
                refused = self.extract(event, edits, &mut left).err();
            }
        });
        if let Some(error) = refused {
            return Err(error);
        }
        if left.given_up + left.too_long > 0 {
            let (given_up, too_long) = (left.given_up, left.too_long);
            tracing::warn!(source = %self.source, given_up, too_long, "regex_extractor: headers are left out");
        }
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};

    fn read(pairs: &[(&str, &str)], zone: &str) -> (Result<RegexExtractor, BuildError>, Vec<String>) {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let built = Config::read(&mut keys).build("r1".into(), TimeZone::get(zone).unwrap());
        (built, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn intercept(pairs: &[(&str, &str)], zone: &str, bodies: &[&str]) -> Result<Vec<String>, String> {
        let (built, findings) = read(pairs, zone);
        assert!(findings.is_empty(), "{findings:?}");
        let mut builder = BatchBuilder::new(EventLimits::default());
        for body in bodies {
            builder.push([("one", "old")], body.as_bytes()).unwrap();
        }
        let batch = built
            .unwrap()
            .intercept(builder.finish())
            .map_err(|e| e.to_string())?;
        let headers = |e: EventView<'_>| {
            e.headers()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(
            batch
                .iter()
                .map(|e| e.body())
                .eq(bodies.iter().map(|b| b.as_bytes()))
        );
        Ok(batch.iter().map(headers).collect())
    }

    const DIGITS: [(&str, &str); 5] = [
        ("regex", r"(\d):(\d):(\d)"),
        ("serializers", "one two three"),
        ("serializers.one.name", "one"),
        ("serializers.two.name", "two"),
        ("serializers.three.name", "three"),
    ];

    #[test]
    fn groups_become_headers_and_the_body_stays() {
        assert_eq!(
            intercept(&DIGITS, "UTC", &["1:2:3.4foobar5", "x"]).unwrap(),
            ["one=1,two=2,three=3", "one=old"]
        );
    }

    #[test]
    fn a_group_that_took_no_part_and_a_group_without_serializer_set_nothing() {
        let pairs = [
            ("regex", r"(a)|(b)(c)"),
            ("serializers", "s1 s2"),
            ("serializers.s1.name", "first"),
            ("serializers.s2.name", "second"),
            ("serializers.s2.type", "default"),
        ];
        assert_eq!(
            intercept(&pairs, "UTC", &["a", "bc"]).unwrap(),
            ["one=old,first=a", "one=old,second=b"]
        );
    }

    const TIME: [(&str, &str); 5] = [
        ("regex", r"^(?:\n)?(\d\d\d\d-\d\d-\d\d\s\d\d:\d\d)"),
        ("serializers", "s1"),
        ("serializers.s1.type", MILLIS),
        ("serializers.s1.name", "timestamp"),
        ("serializers.s1.pattern", "yyyy-MM-dd HH:mm"),
    ];

    #[test]
    fn a_date_becomes_milliseconds_in_the_zone_of_the_machine() {
        let line = "2012-10-18 18:47:57,614 some log line";
        for (zone, ms) in [("UTC", "1350586020000"), ("America/Los_Angeles", "1350611220000")] {
            assert_eq!(
                intercept(&TIME, zone, &[line, "no date"]).unwrap(),
                [format!("one=old,timestamp={ms}"), "one=old".to_owned()]
            );
        }
    }

    #[test]
    fn a_date_that_is_none_refuses_the_batch() {
        assert_eq!(
            intercept(&TIME, "UTC", &["x", "2012-02-30 18:47"]).unwrap_err(),
            "regex_extractor: header timestamp: \"2012-02-30 18:47\" is no date of the pattern \"yyyy-MM-dd HH:mm\""
        );
    }

    #[test]
    fn a_body_that_takes_too_long_and_a_group_that_is_too_long_set_nothing() {
        let pairs = [
            ("regex", "^((?:a|a)*)*(?!b)c$|(x+)"),
            ("serializers", "s1 s2"),
            ("serializers.s1.name", "n"),
            ("serializers.s2.name", "m"),
        ];
        let long = "x".repeat((1 << 20) + 1);
        let found = intercept(&pairs, "UTC", &[&"a".repeat(64), &long, &long[1..]]).unwrap();
        assert_eq!(found[..2], ["one=old", "one=old"]);
        assert_eq!(found[2].len(), "one=old,m=".len() + (1 << 20));
    }

    #[test]
    fn all_mistakes_are_named() {
        let pairs = [
            ("regex", "(a"),
            ("serializers", "s1 s2 s3"),
            ("serializers.s1.name", "n"),
            ("serializers.s1.type", "defualt"),
            ("serializers.s2.type", MILLIS),
            ("serializers.s3.name", "t"),
            ("serializers.s3.type", MILLIS),
            ("serializers.s3.pattern", "yyyy-bb"),
            ("serializers.s4.name", "u"),
        ];
        let (built, mut findings) = read(&pairs, "UTC");
        assert!(built.is_err());
        findings.sort();
        let named = [
            "error[bad-value]: source r1 (seq): regex: expected a Java regular expression: a group without closing )",
            "error[bad-value]: source r1 (seq): serializers.s1.type: expected DEFAULT, org.apache",
            "error[bad-value]: source r1 (seq): serializers.s3.pattern: expected a date pattern of Joda, found \
             \"yyyy-bb\": unknown letter b",
            "error[missing]: source r1 (seq): serializers.s2.name: required, but not there",
            "error[missing]: source r1 (seq): serializers.s2.pattern: required, but not there",
            "warning[unknown-key]: source r1 (seq): serializers.s4.name: unknown, ignored",
        ];
        assert_eq!(findings.len(), named.len(), "{findings:#?}");
        for (finding, words) in findings.iter().zip(named) {
            assert!(finding.contains(words), "{finding}");
        }
        assert!(findings[1].ends_with("; did you mean \"DEFAULT\"?"));
    }

    #[test]
    fn serializers_without_a_group_are_a_warning() {
        let pairs = [DIGITS[1], DIGITS[2], DIGITS[3], DIGITS[4], ("regex", "(a)(b)")];
        assert_eq!(
            read(&pairs, "UTC").1,
            [
                "(given):0: warning[no-effect]: source r1 (seq): serializers: groups in the pattern: 2; from three on \
                 nothing is set"
            ]
        );
    }
}
