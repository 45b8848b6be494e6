//! Who may use whom inside `node`: the arrows of the picture in README.md, held against the paths each file names.
//!
//! Upper may use lower, never the reverse, and the eight component folders never use each other; nor does a
//! component use its neighbour in the same folder. Tests inside a file may reach up. `lib.rs` and `main.rs` see all.

use crate::scan::Source;
use crate::tree::{Sin, Tree};

/// The folders and files of node/src, from the top; what stands on one line is equal.
pub const LAYERS: &[&[&str]] = &[
    &["main", "inspect"],
    &["cli"],
    &["builder", "avro_client", "channel_files", "channel_import"],
    &["config"],
    &["topology"],
    &["supervise"],
    &["flow", "peer", "admin"],
    KINDS,
    &["component", "io", "telemetry", "java"],
];

/// The component folders: each has a list, and no business with the others.
pub const KINDS: &[&str] = &[
    "source",
    "channel",
    "sink",
    "processor",
    "interceptor",
    "selector",
    "serializer",
    "deserializer",
];

/// An arrow against the picture that is permitted all the same: who, whom, and the reason.
pub type Exception = (&'static str, &'static str, &'static str);

/// Empty to begin with, and best left so.
pub const PERMITTED: &[Exception] = &[];

/// Arrows against the picture.
pub fn arrows(tree: &Tree) -> Vec<Sin> {
    arrows_but(tree, PERMITTED)
}

fn arrows_but(tree: &Tree, permitted: &[Exception]) -> Vec<Sin> {
    let mut sins = Vec::new();
    let mut used = vec![false; permitted.len()];
    for source in &tree.rust {
        let Some(home) = home(&source.path).filter(|home| home.first().is_some_and(|top| top != "main"))
        else {
            continue;
        };
        let from = home[0].as_str();
        let Some(upper) = layer(from) else {
            sins.push(Sin::new(&source.path, 1, format!("`{from}` is in no layer: give it a place in LAYERS (tests/tidy/layers.rs) and in README.md's picture")));
            continue;
        };
        for (at, path) in source.named_paths(&home) {
            let Some((to, lower)) = path.first().and_then(|to| Some((to.as_str(), layer(to)?))) else {
                continue;
            };
            let strangers = from != to && KINDS.contains(&from) && KINDS.contains(&to);
            if source.is_test || (lower >= upper && !strangers) {
                continue;
            }
            if let Some(index) = permitted
                .iter()
                .position(|exception| (exception.0, exception.1) == (from, to))
            {
                used[index] = true;
                continue;
            }
            let mend = if strangers {
                "component folders share only through `component` and `io`"
            } else {
                "an arrow never points upwards: move what both need down"
            };
            sins.push(Sin::new(
                &source.path,
                source.line(at),
                format!("`{from}` uses `{}`: {mend}", path.join("::")),
            ));
        }
    }
    let unused = permitted.iter().zip(used).filter(|(_, used)| !used);
    sins.extend(unused.map(|((from, to, _), _)| {
        Sin::new(
            "tests/tidy/layers.rs",
            0,
            format!("nothing in `{from}` uses `{to}` any more: take it out of PERMITTED"),
        )
    }));
    sins
}

/// Components that use a neighbour of their own folder.
pub fn neighbours(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for source in &tree.rust {
        let Some(home) =
            home(&source.path).filter(|home| home.len() > 1 && KINDS.contains(&home[0].as_str()))
        else {
            continue;
        };
        if !source.is_test {
            sins.extend(neighbours_of(source, &home, &components(tree, &home[0])));
        }
    }
    sins
}

fn neighbours_of(source: &Source, home: &[String], components: &[String]) -> Vec<Sin> {
    let mut sins = Vec::new();
    for (at, path) in source.named_paths(home) {
        if path.first() != home.first() {
            continue;
        }
        let what = match path.get(1) {
            Some(name) if *name != home[1] && components.contains(name) => {
                format!(
                    "`{}` uses its neighbour `{}`: move what both need to `component` or `io`",
                    home.join("::"),
                    path.join("::")
                )
            }
            Some(name) if name == "*" => {
                format!("`{}::*` brings all neighbours in: name what is needed", home[0])
            }
            None => format!(
                "`{}` as a name opens all neighbours: name what is needed",
                home[0]
            ),
            Some(_) => continue,
        };
        sins.push(Sin::new(&source.path, source.line(at), what));
    }
    sins
}

/// Components that are in no list, and lists that name what is not there.
pub fn lists(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for kind in KINDS {
        let folder = format!("node/src/{kind}");
        if !tree.has_file_or_folder(&folder) {
            continue;
        }
        let path = format!("{folder}/mod.rs");
        let Some(list) = tree.rust.iter().find(|source| source.path == path) else {
            sins.push(Sin::new(
                &path,
                0,
                "no mod.rs: a component folder has one, with the list ALL",
            ));
            continue;
        };
        sins.extend(list_against_files(list, &components(tree, kind)));
    }
    sins
}

fn list_against_files(list: &Source, files: &[String]) -> Vec<Sin> {
    let mut sins = Vec::new();
    let modules: Vec<(usize, String)> = crate::scan::words(&list.code, "mod")
        .filter(|at| !list.in_test(*at))
        .map(|at| (at, crate::scan::identifier(&list.code, at + 4).to_owned()))
        .collect();
    let Some(listed) = listed_types(list) else {
        return vec![Sin::new(
            &list.path,
            0,
            "no list: write `pub const ALL: &[…] = &[name::TYPE, …];`",
        )];
    };
    for name in files {
        if !modules.iter().any(|(_, module)| module == name) {
            sins.push(Sin::new(
                &list.path,
                0,
                format!("`{name}` is a file here and no module: add `mod {name};`"),
            ));
        }
        if !listed.iter().any(|(_, module)| module == name) {
            sins.push(Sin::new(&list.path, 0, format!("`{name}` is not in the list: add `{name}::TYPE` to ALL, or move what is no component to `component` or `io`")));
        }
    }
    for (at, name) in modules.iter().chain(&listed) {
        if !files.contains(name) {
            sins.push(Sin::new(
                &list.path,
                list.line(*at),
                format!("`{name}` has no file in this folder: add it or take the name out"),
            ));
        }
    }
    sins
}

/// The names of `x::TYPE` in the list `ALL`.
fn listed_types(list: &Source) -> Option<Vec<(usize, String)>> {
    let start = list.code.find("const ALL:")?;
    let body = start + list.code[start..].find('=')?;
    let end = body + list.code[body..].find(';')?;
    let types = list.code[body..end].match_indices("::TYPE").map(|(at, _)| {
        let before = &list.code[..body + at];
        let name = before
            .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("");
        (body + at, name.to_owned())
    });
    Some(types.collect())
}

/// The components of a folder by its files; a folder counts as one.
fn components(tree: &Tree, kind: &str) -> Vec<String> {
    let folder = format!("node/src/{kind}/");
    let mut names: Vec<String> = tree
        .rust
        .iter()
        .filter(|source| !source.is_test)
        .filter_map(|source| source.path.strip_prefix(&folder))
        .map(|rest| {
            rest.split('/')
                .next()
                .unwrap_or(rest)
                .trim_end_matches(".rs")
                .to_owned()
        })
        .filter(|name| name != "mod")
        .collect();
    names.dedup();
    names
}

/// The module of a file of node/src, from the root of the crate: `["source", "avro"]`. `lib.rs` is the empty path.
fn home(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix("node/src/")?.strip_suffix(".rs")?;
    let mut names: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    Some(names)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sins(check: fn(&Tree) -> Vec<Sin>, files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files))
            .into_iter()
            .map(|sin| format!("{}:{}: {}", sin.path, sin.line, sin.what))
            .collect()
    }

    #[test]
    fn an_arrow_downwards_is_fine_and_one_upwards_is_not() {
        let down = (
            "node/src/flow/mod.rs",
            "use crate::{component::Source, sink, telemetry};\nuse super::supervise::X;",
        );
        let found = sins(arrows, &[down]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("node/src/flow/mod.rs:2: `flow` uses `supervise::X`"),
            "{found:?}"
        );
        assert_eq!(
            sins(
                arrows,
                &[
                    ("node/src/main.rs", "use node::cli;"),
                    ("node/src/lib.rs", "use crate::cli::x;")
                ]
            ),
            [""; 0]
        );
    }

    #[test]
    fn tests_may_reach_up() {
        assert_eq!(
            sins(
                arrows,
                &[(
                    "node/src/io/a.rs",
                    "#[cfg(test)]\nmod tests { use crate::config::X; }"
                )]
            ),
            [""; 0]
        );
        assert_eq!(
            sins(arrows, &[("node/src/io/tests.rs", "use crate::config::X;")]),
            [""; 0]
        );
    }

    #[test]
    fn component_folders_are_strangers() {
        let found = sins(
            arrows,
            &[("node/src/source/avro.rs", "fn a() { crate::sink::avro::b() }")],
        );
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_folder_outside_the_picture_is_noticed() {
        assert_eq!(sins(arrows, &[("node/src/util/mod.rs", "")]).len(), 1);
    }

    #[test]
    fn a_permitted_arrow_passes_and_one_that_is_gone_does_not() {
        let permitted: &[Exception] = &[("io", "config", "a reason")];
        assert_eq!(
            arrows_but(
                &Tree::of(&[("node/src/io/a.rs", "use crate::config::X;")]),
                permitted
            ),
            []
        );
        assert_eq!(
            arrows_but(&Tree::of(&[("node/src/io/a.rs", "")]), permitted).len(),
            1
        );
    }

    #[test]
    fn a_component_keeps_to_itself_and_its_folder() {
        let with = |text: &str| {
            sins(
                neighbours,
                &[
                    ("node/src/source/seq.rs", ""),
                    ("node/src/source/file/mod.rs", text),
                    ("node/src/source/file/a.rs", text),
                ],
            )
        };
        assert_eq!(
            with("use crate::source::Type; use crate::source::file::a::B; use crate::io::X;"),
            [""; 0]
        );
        assert_eq!(with("use crate::source::seq::X;").len(), 2);
        assert_eq!(with("use crate::source::{self, Type};").len(), 2);
        assert_eq!(with("use crate::source::*;").len(), 2);
        assert_eq!(
            sins(
                neighbours,
                &[
                    ("node/src/source/b.rs", "use super::a::X;"),
                    ("node/src/source/a.rs", "")
                ]
            )
            .len(),
            1
        );
    }

    #[test]
    fn list_and_files_agree_in_both_directions() {
        let with = |text: &str| {
            sins(
                lists,
                &[
                    ("node/src/sink/mod.rs", text),
                    ("node/src/sink/null.rs", ""),
                    ("node/src/sink/hdfs/mod.rs", ""),
                    ("node/src/sink/hdfs/a.rs", ""),
                ],
            )
        };
        let good = "pub mod hdfs; mod null; #[cfg(test)] mod tests { } pub const ALL: &[Type] = &[hdfs::TYPE, null::TYPE];";
        assert_eq!(with(good), [""; 0]);
        assert_eq!(with(&good.replace("mod null;", "")).len(), 1);
        assert_eq!(with(&good.replace("null::TYPE", "")).len(), 1);
        assert_eq!(with(&good.replace("mod null;", "mod null; mod http;")).len(), 1);
        assert_eq!(
            with(&good.replace("null::TYPE", "null::TYPE, http::TYPE")).len(),
            1
        );
        assert_eq!(with("pub mod hdfs; mod null;").len(), 1);
        assert_eq!(sins(lists, &[("node/src/sink/null.rs", "")]).len(), 1);
    }
}
