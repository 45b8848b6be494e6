//! Where a configuration comes from: files, URIs, and what the values in them may refer to.
//!
//! [`Sources`] is a value that the command line fills once; [`load`](super::load) reads everything anew each time
//! it is called with it, and so does a reload. Nothing here looks at the process's own environment but
//! [`process_environment`], so that tests can bring their own.
//!
//! Files that were named with `-u` come first, those of `-f` after them, as Flume's guide has it; Flume 1.11 itself
//! ignores `-f` as soon as there is a `-u`. A file is JSON, YAML or XML by the extension of its name; Flume looks at
//! the text after the first dot of the whole path, so that it reads `./x.yaml` as properties.
//!
//! Source: `flume/runtime.md` 2.1, 2.3, 10.1.

use super::{ConfigError, Loaded};
use crate::component::keys::{Finding, Place, Severity};
use crate::io::tls::TlsDefaults;
use jiff::Zoned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Extensions that Flume knows and cannot read.
const UNSUPPORTED: [&str; 3] = ["json", "yaml", "xml"];
/// The class that lets `${NAME}` be an environment variable.
const ENVIRONMENT_RESOLVER: &str = "org.apache.flume.node.EnvVarResolverProperties";
/// The file in the configuration directory with which Flume replaces the prefixes of look-ups.
const LOOKUPS: &str = "lookups.properties";

/// Flume's environment variables for TLS, and the system properties that they stand in for.
const SSL_ENVIRONMENT: [(&str, &str); 10] = [
    ("FLUME_SSL_KEYSTORE_PATH", "javax.net.ssl.keyStore"),
    ("FLUME_SSL_KEYSTORE_PASSWORD", "javax.net.ssl.keyStorePassword"),
    ("FLUME_SSL_KEYSTORE_TYPE", "javax.net.ssl.keyStoreType"),
    ("FLUME_SSL_TRUSTSTORE_PATH", "javax.net.ssl.trustStore"),
    (
        "FLUME_SSL_TRUSTSTORE_PASSWORD",
        "javax.net.ssl.trustStorePassword",
    ),
    ("FLUME_SSL_TRUSTSTORE_TYPE", "javax.net.ssl.trustStoreType"),
    ("FLUME_SSL_INCLUDE_PROTOCOLS", "flume.ssl.include.protocols"),
    ("FLUME_SSL_EXCLUDE_PROTOCOLS", "flume.ssl.exclude.protocols"),
    ("FLUME_SSL_INCLUDE_CIPHERSUITES", "flume.ssl.include.cipherSuites"),
    ("FLUME_SSL_EXCLUDE_CIPHERSUITES", "flume.ssl.exclude.cipherSuites"),
];

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `-u`, in their order; read before `files`.
    pub uris: Vec<String>,
    /// `-f`, in their order; relative to the working directory.
    pub files: Vec<PathBuf>,
    /// Properties that stand in no file; they win over all that do.
    pub given: Vec<(String, String)>,
    /// Java's system properties: `-D`, those of `flume-env.sh`, and what [`Sources::complete`] adds.
    pub system_properties: BTreeMap<String, String>,
    /// The configuration directory (`-c`).
    pub conf_dir: Option<PathBuf>,
    /// The environment, with what `flume-env.sh` exports.
    pub environment: BTreeMap<String, String>,
    /// Whether `${NAME}` may be an environment variable.
    pub env_fallback: bool,
    /// The time that `${date:…}` gives; now if there is none. One time for all loads, so that a reload changes only
    /// what was edited.
    pub started: Option<Zoned>,
    /// Config filters of other agents than this one are not asked; none: all are.
    pub agent: Option<String>,
    /// Whether the commands of config filters may be run. An agent does so; a check of a file should not.
    pub run_commands: bool,
}

impl Sources {
    /// These files, with the environment of this process.
    pub fn of_files<P: Into<PathBuf>>(files: impl IntoIterator<Item = P>) -> Self {
        Self {
            files: files.into_iter().map(Into::into).collect(),
            environment: process_environment(),
            started: Some(Zoned::now()),
            run_commands: true,
            ..Self::default()
        }
    }

    /// Draws the conclusions that Flume draws at its start from system properties and the environment.
    pub fn complete(&mut self) {
        for (variable, property) in SSL_ENVIRONMENT {
            if let Some(value) = self.environment.get(variable) {
                let given = self.system_properties.entry(property.to_owned());
                given.or_insert_with(|| value.clone());
            }
        }
        let class = self.system_properties.get("propertiesImplementation");
        self.env_fallback |= class.is_some_and(|class| class == ENVIRONMENT_RESOLVER);
    }

    /// What TLS settings of components default to.
    pub fn tls_defaults(&self) -> TlsDefaults {
        let mut complete = self.clone();
        complete.complete();
        TlsDefaults::of(&complete.system_properties)
    }

    /// All files, in the order in which they are read.
    ///
    /// # Errors
    /// A URI that is no file.
    pub fn paths(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let uris = self.uris.iter().map(|uri| file_of(uri));
        uris.chain(self.files.iter().cloned().map(Ok)).collect()
    }

    /// What is asked for and not done.
    pub(super) fn note_lookups(&self, loaded: &mut Loaded) {
        let mut note = |file: &Path, message: &str| {
            loaded.findings.push(Finding {
                place: Place {
                    file: file.into(),
                    line: 0,
                },
                severity: Severity::Warning,
                code: "not-in-this-version",
                component: super::properties::COMPONENT.to_owned(),
                property: None,
                message: message.to_owned(),
            });
        };
        let own = "lookups of your own are not in this version; env, sys, java and date work";
        if self.system_properties.contains_key("lookups") {
            note(Path::new("(command line)"), &format!("-Dlookups: {own}"));
        } else if let Some(file) = self.conf_dir.as_ref().map(|dir| dir.join(LOOKUPS))
            && file.exists()
        {
            note(&file, own);
        }
    }
}

/// The environment of this process; what is not UTF-8 is made so.
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
        .collect()
}

/// The file that a `file:` URI names.
///
/// # Errors
/// Any other URI.
pub fn file_of(uri: &str) -> Result<PathBuf, ConfigError> {
    let refused = |reason: &'static str| ConfigError::Uri {
        uri: uri.to_owned(),
        reason,
    };
    let (scheme, rest) = uri
        .split_once(':')
        .ok_or_else(|| refused("expected file:///path, found no scheme; -f takes a path"))?;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {}
        "http" | "https" => {
            return Err(refused(
                "configuration over http and https is not in this version",
            ));
        }
        "classpath" => {
            return Err(refused(
                "configuration from the class path is not in this version",
            ));
        }
        _ => return Err(refused("expected file:///path, found another scheme")),
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
    };
    if !path.starts_with('/') {
        return Err(refused("expected file:///path, found no absolute path"));
    }
    decoded(path).ok_or_else(|| refused("expected two hexadecimal digits after each %"))
}

/// The path with `%41` and the like decoded.
fn decoded(path: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// Why a file of this name is not read, if so.
pub(super) fn unsupported(path: &Path) -> Option<Finding> {
    let extension = path.extension()?.to_str()?;
    UNSUPPORTED.contains(&extension).then(|| Finding {
        place: Place {
            file: path.into(),
            line: 0,
        },
        severity: Severity::Error,
        code: "unsupported-file",
        component: super::properties::COMPONENT.to_owned(),
        property: None,
        message: format!("File extension type {extension} is unsupported; expected Java properties"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_uri_names_its_file() {
        for (uri, path) in [
            ("file:///etc/a.properties", "/etc/a.properties"),
            ("file:/etc/a", "/etc/a"),
            ("FILE://localhost/a%20b%C3%A9", "/a bé"),
        ] {
            assert_eq!(file_of(uri).unwrap(), PathBuf::from(path));
        }
        for (uri, reason) in [
            ("http://h/x", "over http and https is not in this version"),
            ("https://h/x", "over http and https is not in this version"),
            ("classpath:/x", "from the class path is not in this version"),
            ("ftp://h/x", "found another scheme"),
            ("a.properties", "-f takes a path"),
            ("file://host/x", "found no absolute path"),
            ("file:///%4", "two hexadecimal digits"),
        ] {
            let text = file_of(uri).unwrap_err().to_string();
            assert!(text.contains(uri) && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn the_extension_is_that_of_the_name() {
        let refused = |path: &str| unsupported(Path::new(path)).is_some();
        assert!(refused("x.yaml") && refused("./x.json") && refused("/etc/flume.d/x.xml"));
        assert!(
            !refused("x.yml") && !refused("/etc/x.yaml/flume.conf") && !refused("yaml") && !refused(".xml")
        );
    }

    #[test]
    fn the_environment_stands_in_for_system_properties_of_tls() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let mut sources = Sources {
            environment: [
                pair("FLUME_SSL_KEYSTORE_PATH", "/e"),
                pair("FLUME_SSL_TRUSTSTORE_TYPE", "PKCS12"),
            ]
            .into(),
            system_properties: [pair("javax.net.ssl.keyStore", "/d")].into(),
            ..Sources::default()
        };
        sources.complete();
        assert_eq!(sources.system_properties["javax.net.ssl.keyStore"], "/d");
        assert_eq!(sources.tls_defaults().keystore.as_deref(), Some("/d"));
        assert_eq!(
            sources.system_properties["javax.net.ssl.trustStoreType"],
            "PKCS12"
        );
        assert!(!sources.env_fallback);
        sources.system_properties.insert(
            "propertiesImplementation".to_owned(),
            ENVIRONMENT_RESOLVER.to_owned(),
        );
        sources.complete();
        assert!(sources.env_fallback);
    }
}
