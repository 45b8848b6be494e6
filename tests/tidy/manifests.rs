//! What crates may depend on: purity of `proto` and `cluster`, arrows between our own crates, and Cargo.lock against
//! the ban list in .cargo/deny.toml. As much TOML is read as those files use.

use crate::tree::{Sin, Tree};

/// Crates whose whole point is the world. Names beginning like this are meant too: `tokio-util`, `metrics-util`.
const WORLDLY: &[&str] = &[
    "actix",
    "async-std",
    "axum",
    "futures",
    "hyper",
    "log",
    "metrics",
    "mio",
    "notify",
    "opentelemetry",
    "quinn",
    "reqwest",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tower",
    "tracing",
];

/// What each of our crates may use of ours.
const OURS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("cluster", &["proto"]),
    ("node", &["proto", "cluster"]),
    ("examples", &["proto", "node"]),
    ("loadtest", &["proto", "node"]),
    ("tests", &["proto", "node"]),
];

const PURE: &[&str] = &["proto", "cluster"];

/// What the clippy.toml of a pure crate must ban at least.
const BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::fs::File",
    "std::net::TcpStream",
    "std::net::UdpSocket",
];

/// Bans that must stay in .cargo/deny.toml, so that an empty list is noticed.
const BANS_AT_LEAST: &[&str] = &["ring", "openssl-sys", "native-tls"];

/// Dependencies that lead to the world, or the wrong way.
pub fn dependencies(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for (member, allowed) in OURS {
        let path = format!("{member}/Cargo.toml");
        let Some(manifest) = tree.text(&path) else {
            sins.push(Sin::new(
                &path,
                0,
                "missing: put the crate back, or take it out of OURS in tests/tidy/manifests.rs",
            ));
            continue;
        };
        for (line, name) in dependencies_of(manifest) {
            let is_ours = OURS.iter().any(|(ours, _)| *ours == name);
            if is_ours && !allowed.contains(&name.as_str()) {
                sins.push(Sin::new(
                    &path,
                    line,
                    format!("`{member}` may not use `{name}`: see the picture in README.md"),
                ));
            }
            if PURE.contains(member) && is_worldly(&name) {
                sins.push(Sin::new(
                    &path,
                    line,
                    format!("`{member}` is pure and names `{name}`: what needs it belongs to node"),
                ));
            }
        }
    }
    sins
}

/// Missing bans beside the pure crates.
pub fn clippy_bans(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for member in PURE {
        let path = format!("{member}/clippy.toml");
        let text = tree.text(&path).unwrap_or("");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        for ban in BANS {
            let entry = format!("path = \"{ban}\"");
            if !lines.iter().any(|line| line.contains(&entry)) {
                sins.push(Sin::new(
                    &path,
                    0,
                    format!("does not ban `{ban}`: add {{ {entry}, reason = \"…\" }}"),
                ));
            }
        }
    }
    sins
}

/// Banned crates and foreign sources in Cargo.lock.
pub fn lock(tree: &Tree) -> Vec<Sin> {
    let bans = bans(tree.text(".cargo/deny.toml").unwrap_or(""));
    let mut sins: Vec<Sin> = BANS_AT_LEAST
        .iter()
        .filter(|name| !bans.iter().any(|ban| ban.name == **name))
        .map(|name| {
            Sin::new(
                ".cargo/deny.toml",
                0,
                format!("does not ban `{name}`: put it back into bans.deny"),
            )
        })
        .collect();
    let packages = packages(tree.text("Cargo.lock").unwrap_or(""));
    if packages.is_empty() {
        sins.push(Sin::new(
            "Cargo.lock",
            0,
            "missing or empty: it is committed, so that all build the same",
        ));
    }
    for package in &packages {
        let from_crates_io =
            |source: &String| source.starts_with("registry+") && source.ends_with("/crates.io-index");
        if package
            .source
            .as_ref()
            .is_some_and(|source| !from_crates_io(source))
        {
            sins.push(Sin::new(
                "Cargo.lock",
                package.line,
                format!(
                    "`{}` is not from crates.io: use a published version",
                    package.name
                ),
            ));
        }
        let Some(ban) = bans.iter().find(|ban| ban.name == package.name) else {
            continue;
        };
        for user in packages
            .iter()
            .filter(|user| user.dependencies.contains(&package.name))
        {
            if !ban.wrappers.contains(&user.name) {
                let what = format!(
                    "`{}` is banned (.cargo/deny.toml) and `{}` brings it in: choose other features or another crate",
                    package.name, user.name
                );
                sins.push(Sin::new("Cargo.lock", package.line, what));
            }
        }
    }
    sins
}

fn is_worldly(name: &str) -> bool {
    let of_the_family = |world: &str| {
        name.strip_prefix(world)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    };
    WORLDLY.iter().any(|world| of_the_family(world))
}

/// Names in every dependency table of a manifest, renamed packages by both names, with their lines.
fn dependencies_of(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(table) = line.strip_prefix('[') {
            let table = table.split(']').next().unwrap_or(table);
            let (head, last) = table.rsplit_once('.').unwrap_or(("", table));
            inside = last.ends_with("dependencies");
            if head.ends_with("dependencies") {
                found.push((index + 1, last.trim_matches('"').to_owned()));
                inside = false;
            }
            found.extend(table_package(manifest, index, head).map(|name| (index + 1, name)));
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) else {
            continue;
        };
        let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
        found.push((index + 1, name.to_owned()));
        found.extend(quoted_after(value, "package").map(|package| (index + 1, package.to_owned())));
    }
    found
}

/// The `package = "…"` of a table `[dependencies.x]`.
fn table_package(manifest: &str, header: usize, head: &str) -> Option<String> {
    if !head.ends_with("dependencies") {
        return None;
    }
    let body = manifest
        .lines()
        .skip(header + 1)
        .take_while(|line| !line.trim_start().starts_with('['));
    body.filter(|line| line.trim_start().starts_with("package"))
        .find_map(|line| quoted_after(line, "package"))
        .map(str::to_owned)
}

/// `x` of `key = "x"`.
fn quoted_after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line
        .split_once(key)?
        .1
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .strip_prefix('"')?;
    rest.split('"').next()
}

/// A banned crate, and who may bring it in nevertheless.
struct Ban {
    name: String,
    wrappers: Vec<String>,
}

/// The list `bans.deny`: one entry in a line, as deny.toml is written.
fn bans(deny: &str) -> Vec<Ban> {
    let mut found = Vec::new();
    let lines = deny
        .lines()
        .skip_while(|line| line.trim() != "[bans]")
        .skip_while(|line| !line.starts_with("deny ="));
    for line in lines.take_while(|line| line.trim() != "]") {
        let Some(name) = quoted_after(line, "crate").filter(|_| !line.trim_start().starts_with('#')) else {
            continue;
        };
        let list = line
            .split_once("wrappers")
            .map_or("", |(_, rest)| rest.split(']').next().unwrap_or(rest));
        let wrappers = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        found.push(Ban {
            name: name.to_owned(),
            wrappers,
        });
    }
    found
}

/// A package of Cargo.lock.
#[derive(Default)]
struct Package {
    line: usize,
    name: String,
    source: Option<String>,
    dependencies: Vec<String>,
}

fn packages(lock: &str) -> Vec<Package> {
    let mut found: Vec<Package> = Vec::new();
    for (index, line) in lock.lines().enumerate() {
        if line == "[[package]]" {
            found.push(Package {
                line: index + 1,
                ..Package::default()
            });
        }
        let Some(package) = found.last_mut() else { continue };
        if line.starts_with("name = ") {
            package.name = quoted_after(line, "name").unwrap_or("").to_owned();
        } else if line.starts_with("source = ") {
            package.source = quoted_after(line, "source").map(str::to_owned);
        } else if let Some(dependency) = line.strip_prefix(" \"") {
            let name = dependency.split([' ', '"']).next().unwrap_or(dependency);
            package.dependencies.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: &[(&str, &str)] = &[
        (
            "cluster/Cargo.toml",
            "[dependencies]\nproto = { workspace = true }\nfoca = { version = \"2\", features = [\"tracing\"] }\n",
        ),
        ("examples/Cargo.toml", ""),
        ("loadtest/Cargo.toml", "[dependencies]\nnode.workspace = true\n"),
        (
            "node/Cargo.toml",
            "[dependencies]\ntokio = \"1\"\ncluster = { workspace = true }\n",
        ),
        (
            "proto/Cargo.toml",
            "[package]\nname = \"proto\"\n[dependencies]\nbytes = \"1\" # tokio's\n",
        ),
        ("tests/Cargo.toml", ""),
    ];

    /// The calm tree with one manifest replaced.
    fn sins(path: &str, text: &str) -> Vec<usize> {
        let files: Vec<(&str, &str)> = CALM
            .iter()
            .map(|file| if file.0 == path { (path, text) } else { *file })
            .collect();
        dependencies(&Tree::of(&files))
            .into_iter()
            .map(|sin| sin.line)
            .collect()
    }

    #[test]
    fn a_calm_workspace_passes() {
        assert_eq!(dependencies(&Tree::of(CALM)), []);
        assert_eq!(
            dependencies(&Tree::of(&CALM[1..])).len(),
            1,
            "a manifest that is gone is noticed"
        );
    }

    #[test]
    fn a_pure_crate_that_names_the_world_is_noticed_in_every_notation() {
        for text in [
            "[dependencies]\ntokio = \"1\"",
            "[dev-dependencies]\ntokio-util.workspace = true",
            "[dependencies.metrics]\nversion = \"1\"",
            "[target.'cfg(unix)'.dependencies]\nquinn = { version = \"1\" }",
            "[build-dependencies]\ncalm = { package = \"axum\", version = \"1\" }",
            "[dependencies.calm]\npackage = \"tracing\"",
        ] {
            assert_eq!(sins("proto/Cargo.toml", text).len(), 1, "{text}");
        }
        assert_eq!(
            sins(
                "proto/Cargo.toml",
                "[dependencies]\n# tokio = \"1\"\nlogos = \"1\""
            ),
            []
        );
    }

    #[test]
    fn arrows_between_our_crates_are_held() {
        assert_eq!(
            sins(
                "proto/Cargo.toml",
                "[dependencies]\ncluster = { path = \"../cluster\" }"
            ),
            [2]
        );
        assert_eq!(
            sins("cluster/Cargo.toml", "[dependencies]\nproto = { }\nnode = { }"),
            [3]
        );
        assert_eq!(sins("node/Cargo.toml", "[dev-dependencies]\ntests = { }"), [2]);
        assert_eq!(sins("loadtest/Cargo.toml", "[dependencies]\ncluster = { }"), [2]);
    }

    #[test]
    fn a_ban_that_is_commented_out_is_missing() {
        let all: String = BANS
            .iter()
            .map(|ban| format!("{{ path = \"{ban}\" }}\n"))
            .collect();
        let without = all.replace("{ path = \"std::fs::File\"", "# { path = \"std::fs::File\"");
        assert_eq!(
            clippy_bans(&Tree::of(&[
                ("proto/clippy.toml", &all),
                ("cluster/clippy.toml", &all)
            ])),
            []
        );
        assert_eq!(
            clippy_bans(&Tree::of(&[
                ("proto/clippy.toml", &without),
                ("cluster/clippy.toml", &all)
            ]))
            .len(),
            1
        );
        assert_eq!(clippy_bans(&Tree::of(&[])).len(), 2 * BANS.len());
    }

    #[test]
    fn banned_crates_and_foreign_sources_are_found_in_the_lock() {
        let deny = "[bans]\ndeny = [\n    { crate = \"ring\" },\n    { crate = \"native-tls\" },\n    { crate = \"openssl-sys\", wrappers = [\"rdkafka-sys\"] },\n]\n";
        let package = |name: &str, source: &str, uses: &str| {
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1\"\nsource = \"{source}\"\ndependencies = [\n \"{uses}\",\n]\n"
            )
        };
        let io = "registry+https://example.org/crates.io-index";
        let sins = |lock: String| lock_sins(deny, &lock);
        assert_eq!(sins(package("a", io, "b 1.0")), 0);
        assert_eq!(sins(package("a", "git+https://example.org/a", "b")), 1);
        assert_eq!(sins(package("a", io, "ring 0.17") + &package("ring", io, "b")), 1);
        assert_eq!(
            sins(package("rdkafka-sys", io, "openssl-sys") + &package("openssl-sys", io, "b")),
            0
        );
        assert_eq!(
            sins(package("a", io, "openssl-sys") + &package("openssl-sys", io, "b")),
            1
        );
        assert_eq!(sins(String::new()), 1);
        assert_eq!(lock_sins("", &package("a", io, "b")), BANS_AT_LEAST.len());
    }

    fn lock_sins(deny: &str, text: &str) -> usize {
        lock(&Tree::of(&[(".cargo/deny.toml", deny), ("Cargo.lock", text)])).len()
    }
}
