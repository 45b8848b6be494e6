//! All the ways in which options are spelled in Flume, made into one.
//!
//! Flume's parser (commons-cli) and launcher take `--name a1`, `--name=a1`, `--na a1`, `-name a1`, `-n a1`, `-n=a1`,
//! `-na1`, `-user bob`, `-Dkey=value`, `-Xmx1g`, `-agentlib:…` and ignore words that belong to no option. clap knows
//! about half of them, so this comes before it: [`spell`] finds out which option is meant and what its value is.
//! The rules, in their order, for a word that begins with `-`:
//!
//! 1. `-D…`, `-X…`, `-agentlib…`, `-agentpath…`, `-javaagent…` go to the JVM.
//! 2. `--word`: the long option of that name, or the only one that begins so.
//! 3. `-word`: the short option of that name (there are some of several letters); a long option as in 2, so that
//!    `-name` never means `-n ame`; else single letters, of which the first with a value takes the rest (`-na1`).
//!
//! Where an abbreviation could mean several options, Flume's own ones go before those that Flume does not have: what
//! is unambiguous there is so here.
//!
//! Source: `flume/runtime.md` 1.1, 1.2; commons-cli `DefaultParser`.

use crate::component::keys::nearest;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Short names of several letters.
const LONG_SHORTS: [(&str, &str); 3] = [
    ("user", "conf-user"),
    ("pwd", "conf-password"),
    ("prov", "conf-provider"),
];

/// Options that Flume's commands do not have, or has in its launcher, where nothing can be abbreviated.
const NOT_FLUMES: [&str; 11] = [
    "admin",
    "batch-size",
    "classpath",
    "conf",
    "dryrun",
    "lenient",
    "log-format",
    "log-level",
    "plugins-path",
    "retry",
    "seed",
];

const JVM_AGENTS: [&str; 3] = ["-agentlib", "-agentpath", "-javaagent"];

/// One option that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its long name; `D` and `X` have none and stand for themselves.
    pub long: String,
    /// None for a flag.
    pub value: Option<OsString>,
}

/// A command line, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelled {
    /// Options, in their order.
    pub given: Vec<Given>,
    /// Words that belong to no option.
    pub words: Vec<OsString>,
    /// `-agentlib:…` and its like.
    pub jvm_agents: Vec<String>,
}

/// The options of a command.
pub struct Spelling {
    options: Vec<Known>,
}

struct Known {
    long: String,
    short: Option<char>,
    takes_value: bool,
}

impl Spelling {
    /// As clap knows them.
    pub fn of(command: &mut clap::Command) -> Self {
        command.build();
        let known = command.get_arguments().filter_map(|argument| {
            let short = argument.get_short();
            Some(Known {
                long: match argument.get_long() {
                    Some(long) => long.to_owned(),
                    None => short?.to_string(),
                },
                short,
                takes_value: argument.get_action().takes_values(),
            })
        });
        Self {
            options: known.collect(),
        }
    }

    /// Reads a command line.
    ///
    /// # Errors
    /// The first option that is none, that is ambiguous, or that lacks its value; in one line.
    pub fn spell(&self, words: impl Iterator<Item = OsString>) -> Result<Spelled, String> {
        let mut spelled = Spelled::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                spelled.words.extend(words);
                break;
            }
            if bytes == b"-" || !bytes.starts_with(b"-") {
                spelled.words.push(word);
                continue;
            }
            let text = word.to_string_lossy();
            if JVM_AGENTS.iter().any(|agent| text.starts_with(agent)) {
                spelled.jvm_agents.push(text.into_owned());
                continue;
            }
            for (known, value) in self.options_of(&word)? {
                let value = match (known.takes_value, value) {
                    (false, _) => None,
                    (true, Some(value)) => Some(value),
                    (true, None) => match words.next_if(|next| !self.is_option(next)) {
                        Some(value) => Some(value),
                        None => return Err(format!("Option {} requires an argument", known.shown())),
                    },
                };
                let long = known.long.clone();
                spelled.given.push(Given { long, value });
            }
        }
        Ok(spelled)
    }

    /// The option of exactly this long or short name.
    pub fn named(&self, name: &str) -> Option<(&str, bool)> {
        let long = LONG_SHORTS.iter().find(|(short, _)| *short == name);
        let name = long.map_or(name, |(_, long)| long);
        let single = |k: &Known| k.short.is_some_and(|c| c.to_string() == name);
        let known = self.options.iter().find(|k| k.long == name || single(k))?;
        Some((&known.long, known.takes_value))
    }

    /// The name of an option that is most like this one.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let long = self.options.iter().map(|k| k.long.as_str());
        // What is like a single letter is every other letter.
        nearest(name, long.filter(|long| long.len() > 1 && name.len() > 2))
    }

    fn options_of(&self, word: &OsStr) -> Result<Vec<(&Known, Option<OsString>)>, String> {
        let bytes = word.as_bytes();
        let single_dash = !bytes.starts_with(b"--");
        let body = if single_dash { &bytes[1..] } else { &bytes[2..] };
        if single_dash && matches!(body[0], b'D' | b'X') {
            let value = (body.len() > 1).then(|| os(&body[1..]));
            return Ok(self
                .short(char::from(body[0]))
                .map(|k| (k, value))
                .into_iter()
                .collect());
        }
        let equals = body.iter().position(|b| *b == b'=');
        let name = String::from_utf8_lossy(&body[..equals.unwrap_or(body.len())]);
        let value = equals.map(|at| os(&body[at + 1..]));
        let letter = single_dash.then(|| only(&name)).flatten();
        let known = match letter.and_then(|letter| self.short(letter)) {
            Some(known) => Some(known),
            None => self.long(&name, single_dash)?,
        };
        match known {
            // A flag has no value: `--no-reload-conf=no` would turn it on.
            Some(known) if known.takes_value || value.is_none() => Ok(vec![(known, value)]),
            Some(known) => Err(format!("Option {} takes no argument", known.shown())),
            None if single_dash => self.letters(word),
            None => Err(self.unknown(word)),
        }
    }

    /// `-na1`, `-dh`.
    fn letters(&self, word: &OsStr) -> Result<Vec<(&Known, Option<OsString>)>, String> {
        let mut found = Vec::new();
        let bytes = &word.as_bytes()[1..];
        for (at, byte) in bytes.iter().enumerate() {
            let Some(known) = self.short(char::from(*byte)) else {
                return Err(self.unknown(word));
            };
            let rest = &bytes[at + 1..];
            if known.takes_value {
                found.push((known, (!rest.is_empty()).then(|| os(rest))));
                break;
            }
            found.push((known, None));
        }
        Ok(found)
    }

    fn short(&self, letter: char) -> Option<&Known> {
        self.options.iter().find(|k| k.short == Some(letter))
    }

    /// The long option of that name or the only one that begins so.
    fn long(&self, name: &str, shorts: bool) -> Result<Option<&Known>, String> {
        let several = LONG_SHORTS.iter().find(|(short, _)| shorts && *short == name);
        let name = several.map_or(name, |(_, long)| long);
        if let Some(exact) = self.options.iter().find(|k| k.long == name) {
            return Ok(Some(exact));
        }
        let begin = |k: &&Known| !name.is_empty() && k.long.len() > 1 && k.long.starts_with(name);
        let all: Vec<&Known> = self.options.iter().filter(begin).collect();
        let flumes: Vec<&Known> = all
            .iter()
            .copied()
            .filter(|k| !NOT_FLUMES.contains(&k.long.as_str()))
            .collect();
        match (flumes.as_slice(), all.as_slice()) {
            (_, []) => Ok(None),
            ([one], _) | (_, [one]) => Ok(Some(one)),
            _ => {
                let names: Vec<String> = all.iter().map(|k| format!("--{}", k.long)).collect();
                Err(format!("ambiguous option '--{name}': {}", names.join(", ")))
            }
        }
    }

    /// Whether a word is an option, and no value of the one before it.
    fn is_option(&self, word: &OsStr) -> bool {
        let bytes = word.as_bytes();
        let Some(body) = bytes.strip_prefix(b"-").filter(|body| !body.is_empty()) else {
            return false;
        };
        body.starts_with(b"-")
            || JVM_AGENTS.iter().any(|agent| bytes.starts_with(agent.as_bytes()))
            || self.short(char::from(body[0])).is_some()
            || self.options_of(word).is_ok()
    }

    fn unknown(&self, word: &OsStr) -> String {
        let text = word.to_string_lossy();
        let name = text.trim_start_matches('-');
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        let near = self.nearest(name);
        let hint = near.map_or(String::new(), |n| format!("; did you mean '--{n}'?"));
        format!("unknown option '{text}'{hint}")
    }
}

impl Known {
    fn shown(&self) -> String {
        let dashes = if self.long.len() > 1 { "--" } else { "-" };
        format!("{dashes}{}", self.long)
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// The only letter of a name.
fn only(name: &str) -> Option<char> {
    let mut letters = name.chars();
    letters.next().filter(|_| letters.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::AgentArgs;
    use clap::CommandFactory;
    use proptest::prelude::*;

    fn spelled(line: &str) -> Result<Spelled, String> {
        Spelling::of(&mut AgentArgs::command()).spell(line.split_whitespace().map(OsString::from))
    }

    /// Checks options as `long=value`, then the other words.
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let spelled = spelled(line).unwrap();
        let options = spelled.given.iter().map(|g| match &g.value {
            Some(value) => format!("{}={}", g.long, value.to_string_lossy()),
            None => g.long.clone(),
        });
        let words = spelled.words.iter().map(|w| w.to_string_lossy().into_owned());
        let all: Vec<String> = options.chain(words).collect();
        assert_eq!(all.join(" "), expected, "{line}");
    }

    #[test]
    fn every_form_of_an_option_means_the_same() {
        for form in [
            "-n a1",
            "-na1",
            "-n=a1",
            "--name a1",
            "--name=a1",
            "--na a1",
            "-name a1",
            "-name=a1",
            "-nam a1",
        ] {
            check(form, "name=a1");
        }
        for form in ["-conf-file F", "--conf-f F", "-f F", "-fF"] {
            check(form, "conf-file=F");
        }
        for form in ["-user bob", "--conf-user bob", "-conf-us=bob", "-user=bob"] {
            check(form, "conf-user=bob");
        }
        check(
            "-prov C -pwd x -p /flume",
            "conf-provider=C conf-password=x zkBasePath=/flume",
        );
        check(
            "-u file:///x -ufile:///y",
            "conf-uri=file:///x conf-uri=file:///y",
        );
    }

    #[test]
    fn a_long_name_behind_one_dash_is_no_short_option_with_a_value() {
        check("-name a1", "name=a1");
        check("-name=ame", "name=ame");
        assert_eq!(
            spelled("-name").unwrap_err(),
            "Option --name requires an argument"
        );
        check("-nagent", "name=agent");
        check("-conf dir -c dir", "conf=dir conf=dir");
        check("-dryrun -d", "dryrun dryrun");
        check("-i 5 -i5", "poll-interval=5 poll-interval=5");
    }

    #[test]
    fn flumes_own_abbreviations_go_first() {
        check(
            "--a C --p 5 --no-rel --cl x",
            "auth-provider=C poll-interval=5 no-reload-conf classpath=x",
        );
        assert_eq!(
            spelled("--conf-u x").unwrap_err(),
            "ambiguous option '--conf-u': --conf-uri, --conf-user"
        );
        assert!(
            spelled("--zk x")
                .unwrap_err()
                .starts_with("ambiguous option '--zk': ")
        );
        check("--log-f json --ad 1 --le", "log-format=json admin=1 lenient");
    }

    #[test]
    fn the_virtual_machine_gets_its_own() {
        check(
            "-Da=b -D c=-d -D=x -Xmx1g -X ms1g",
            "D=a=b D=c=-d D==x X=mx1g X=ms1g",
        );
        let agents = spelled("-agentlib:jdwp=x -javaagent:a.jar -agentpath:p -a C").unwrap();
        assert_eq!(
            agents.jvm_agents,
            ["-agentlib:jdwp=x", "-javaagent:a.jar", "-agentpath:p"]
        );
        assert_eq!(agents.given.len(), 1);
    }

    #[test]
    fn other_words_are_kept_apart() {
        check("one -n a1 two - -- -n three", "name=a1 one two - -n three");
        check("--no-reload-conf one", "no-reload-conf one");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, text) in [
            ("--bogus", "unknown option '--bogus'"),
            (
                "--conf-fiel x",
                "unknown option '--conf-fiel'; did you mean '--conf-file'?",
            ),
            ("-y", "unknown option '-y'"),
            ("-dy", "unknown option '-dy'"),
            ("-f -n a1", "Option --conf-file requires an argument"),
            ("-f --", "Option --conf-file requires an argument"),
            ("-D", "Option -D requires an argument"),
            ("--no-reload-conf=no", "Option --no-reload-conf takes no argument"),
        ] {
            assert_eq!(spelled(line).unwrap_err(), text);
        }
        check("-i -1 -f -", "poll-interval=-1 conf-file=-");
    }

    #[test]
    fn values_need_not_be_utf8() {
        let words = [
            OsString::from("-f"),
            os(b"\xff"),
            os(b"-f\xfe"),
            os(b"--conf-file=\xfd"),
        ];
        let spelled = Spelling::of(&mut AgentArgs::command())
            .spell(words.into_iter())
            .unwrap();
        let values: Vec<&[u8]> = spelled
            .given
            .iter()
            .map(|g| g.value.as_ref().unwrap().as_bytes())
            .collect();
        assert_eq!(values, [b"\xff", b"\xfe", b"\xfd"]);
        assert!(
            Spelling::of(&mut AgentArgs::command())
                .spell([os(b"-\xff")].into_iter())
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec("-{0,2}[a-zDX=]{0,6}", 0..6)) {
            let _ = Spelling::of(&mut AgentArgs::command()).spell(words.into_iter().map(OsString::from));
        }
    }
}
