//! Stand-ins for what a Java process says about itself: there is no Java here.
//!
//! | look-up | here |
//! |---|---|
//! | `${java:version}`, `${java:runtime}`, `${java:vm}` | `Millrace 0.1.0 (no Java)` |
//! | `${java:os}` | `Linux, architecture: amd64-64` |
//! | `${java:hardware}` | `processors: 8, architecture: amd64-64` |
//! | `${java:locale}` | `default locale: en, platform encoding: UTF-8` |
//! | `${sys:user.name}` `user.home` `user.dir` `java.io.tmpdir` | of this process: `USER`, `HOME`, the working directory, `TMPDIR` |
//! | `${sys:os.name}` `os.arch` `file.separator` `path.separator` `line.separator` `file.encoding` | as Java says them |
//!
//! A system property that was given with `-D` wins over its stand-in. Others that Java sets (`java.home`, …) are not
//! there: what asks for them wants a Java.

use std::collections::BTreeMap;
use std::env;
use std::thread::available_parallelism;

/// What may follow `java:`.
pub const JAVA: [&str; 6] = ["version", "runtime", "vm", "os", "hardware", "locale"];

/// What stands for `${java:what}`.
pub fn java(what: &str) -> Option<String> {
    Some(match what {
        "version" | "runtime" | "vm" => format!("Millrace {} (no Java)", env!("CARGO_PKG_VERSION")),
        "os" => format!("{}, architecture: {}-{}", os_name(), os_arch(), usize::BITS),
        "hardware" => {
            let processors = available_parallelism().map_or(1, usize::from);
            format!(
                "processors: {processors}, architecture: {}-{}",
                os_arch(),
                usize::BITS
            )
        }
        "locale" => "default locale: en, platform encoding: UTF-8".to_owned(),
        _ => return None,
    })
}

/// What stands for a system property that Java sets by itself.
pub fn system_property(name: &str, environment: &BTreeMap<String, String>) -> Option<String> {
    let from = |variable: &str| environment.get(variable).cloned();
    Some(match name {
        "user.name" => return from("USER"),
        "user.home" => return from("HOME"),
        "user.dir" => env::current_dir().ok()?.to_string_lossy().into_owned(),
        "java.io.tmpdir" => from("TMPDIR").unwrap_or_else(|| "/tmp".to_owned()),
        "os.name" => os_name().to_owned(),
        "os.arch" => os_arch().to_owned(),
        "file.separator" => "/".to_owned(),
        "path.separator" => ":".to_owned(),
        "line.separator" => "\n".to_owned(),
        "file.encoding" => "UTF-8".to_owned(),
        _ => return None,
    })
}

fn os_name() -> &'static str {
    match env::consts::OS {
        "linux" => "Linux",
        "macos" => "Mac OS X",
        other => other,
    }
}

fn os_arch() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_java_has_a_stand_in() {
        assert!(
            JAVA.iter()
                .all(|what| java(what).is_some_and(|text| !text.is_empty()))
        );
        assert_eq!(java("nosuch"), None);
        assert!(java("version").is_some_and(|v| v.starts_with("Millrace ")));
    }

    #[test]
    fn the_user_comes_from_the_environment() {
        let environment = BTreeMap::from([("USER".to_owned(), "bob".to_owned())]);
        assert_eq!(system_property("user.name", &environment).as_deref(), Some("bob"));
        assert_eq!(system_property("user.home", &environment), None);
        assert_eq!(
            system_property("java.io.tmpdir", &environment).as_deref(),
            Some("/tmp")
        );
        assert_eq!(system_property("java.home", &environment), None);
    }
}
