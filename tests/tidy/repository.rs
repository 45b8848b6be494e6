//! The shape of the repository: its top level, its READMEs, links between Markdown files, file beside folder, and
//! nothing that is true on one machine only.

use crate::tree::{Sin, Tree};

/// All that stands at the top, besides files beginning with a dot and `target`.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "node",
    "proto",
    "cluster",
    "examples",
    "loadtest",
    "tests",
];

const READMES: &[&str] = &[
    "README.md",
    "proto/README.md",
    "cluster/README.md",
    "node/README.md",
];

/// Entries at the top that do not belong there, or are missing.
pub fn top_level(tree: &Tree) -> Vec<Sin> {
    let mut names: Vec<&str> = tree
        .files
        .iter()
        .filter_map(|file| file.path.split('/').next())
        .collect();
    names.dedup();
    let stranger = |name: &&&str| !TOP_LEVEL.contains(name) && !name.starts_with('.') && **name != "target";
    let strangers = names.iter().filter(stranger);
    let strangers = strangers.map(|name| Sin::new(name, 0, "does not belong at the top: find its folder"));
    let missing = TOP_LEVEL.iter().filter(|name| !names.contains(name));
    strangers
        .chain(missing.map(|name| Sin::new(name, 0, "missing at the top: put it back")))
        .collect()
}

/// Crates without a front page.
pub fn readmes(tree: &Tree) -> Vec<Sin> {
    let empty = |path: &&&str| tree.text(path).is_none_or(|text| text.trim().is_empty());
    READMES
        .iter()
        .filter(empty)
        .map(|path| Sin::new(path, 0, "missing or empty: it is the front page of its folder"))
        .collect()
}

/// `name.rs` beside a folder `name/`.
pub fn folders(tree: &Tree) -> Vec<Sin> {
    let beside = |path: &str| {
        let folder = format!("{}/", path.strip_suffix(".rs")?);
        tree.rust
            .iter()
            .any(|source| source.path.starts_with(&folder))
            .then_some(folder)
    };
    let sinner = |path: &str| {
        Some(Sin::new(
            path,
            0,
            format!("stands beside its folder: move it to {}mod.rs", beside(path)?),
        ))
    };
    tree.rust
        .iter()
        .filter_map(|source| sinner(&source.path))
        .collect()
}

/// Relative links of Markdown files that lead nowhere.
pub fn links(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, link) in links_of(&file.text) {
            if !is_relative(&link) {
                continue;
            }
            let target = link.split(['#', '?']).next().unwrap_or(&link).replace("%20", " ");
            let found = joined(&file.path, &target).is_some_and(|path| tree.has_file_or_folder(&path));
            if !found {
                sins.push(Sin::new(
                    &file.path,
                    line,
                    format!("the link `{link}` leads nowhere: mend it, relative to this file"),
                ));
            }
        }
    }
    sins
}

/// Paths that exist on somebody's machine only.
pub fn machines(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(found) = machine_path(line) {
                sins.push(Sin::new(&file.path, index + 1, format!("`{found}…` is a path of one machine: make it relative, or take a made-up one such as /var/lib/x")));
            }
        }
    }
    sins
}

/// Folders where people and machines keep their work; in pieces, as tidy reads itself too.
fn machine_path(line: &str) -> Option<String> {
    let homes = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Use", "rs/"]].map(|parts| parts.concat());
    for home in homes {
        for (at, _) in line.match_indices(&home) {
            let within = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})*".contains(c));
            let name = line[at + home.len()..]
                .chars()
                .next()
                .is_some_and(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
            if !within && name {
                return Some(home);
            }
        }
    }
    None
}

/// Links of a Markdown text outside code, with their lines: `[a](b)`, `![a](b)` and `[a]: b`.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if let Some(end) = fence {
            if start.starts_with(end) {
                fence = None;
            }
            continue;
        }
        fence = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        if fence.is_some() {
            continue;
        }
        let prose = without_code(line);
        found.extend(
            prose
                .match_indices("](")
                .filter_map(|(at, _)| Some((index + 1, inline_target(&prose[at + 2..])?))),
        );
        if let Some((_, target)) = prose
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
        {
            found.push((
                index + 1,
                target
                    .split_whitespace()
                    .next()
                    .unwrap_or("")
                    .trim_matches(['<', '>'])
                    .to_owned(),
            ));
        }
    }
    found
}

/// What stands in the brackets of a link, without its title.
fn inline_target(rest: &str) -> Option<String> {
    if let Some(angled) = rest.strip_prefix('<') {
        return Some(angled.split('>').next()?.to_owned());
    }
    let mut depth = 0;
    let end = rest.find(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth < 0
    })?;
    Some(rest[..end].split_whitespace().next().unwrap_or("").to_owned())
}

/// A line with its `code` blanked.
fn without_code(line: &str) -> String {
    let pieces: Vec<&str> = line.split('`').collect();
    let closed = pieces.len() % 2 == 1;
    let blank = |(index, piece): (usize, &&str)| {
        let in_code = index % 2 == 1 && (closed || index + 1 < pieces.len());
        if in_code {
            String::from("`…`")
        } else {
            (*piece).to_owned()
        }
    };
    pieces.iter().enumerate().map(blank).collect()
}

/// Not another site, not an anchor of this page, not an item for rustdoc.
fn is_relative(link: &str) -> bool {
    let scheme = link
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'));
    !link.starts_with('#') && !scheme && !link.contains("::")
}

/// The path of a link from a file; None when it leaves the repository or begins at the root of a machine.
fn joined(file: &str, link: &str) -> Option<String> {
    if link.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_level_is_exact() {
        let mut files: Vec<(&str, &str)> = TOP_LEVEL.iter().map(|name| (*name, "")).collect();
        files.push((".gitignore", ""));
        assert_eq!(top_level(&Tree::of(&files)), []);
        files.push(("scripts/a.sh", ""));
        files.remove(0);
        let found: Vec<String> = top_level(&Tree::of(&files))
            .into_iter()
            .map(|sin| sin.path)
            .collect();
        assert_eq!(found, ["scripts", "Cargo.toml"]);
    }

    #[test]
    fn every_crate_that_matters_has_a_front_page() {
        let mut files: Vec<(&str, &str)> = READMES.iter().map(|path| (*path, "# words")).collect();
        assert_eq!(readmes(&Tree::of(&files)), []);
        files[1].1 = " \n";
        assert_eq!(readmes(&Tree::of(&files)).len(), 1);
    }

    #[test]
    fn a_file_beside_its_folder_is_noticed() {
        let found = folders(&Tree::of(&[
            ("node/src/a.rs", ""),
            ("node/src/a/b.rs", ""),
            ("node/src/c/mod.rs", ""),
        ]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "node/src/a.rs");
    }

    #[test]
    fn links_are_read_outside_code_only() {
        let text = "[a](b.md \"title\") ![i](<c d.png>) `[x](y)` [`z`](e(1).md)\n```\n[n](o)\n```\n[r]: f.md\n- [ ] todo\n";
        let found: Vec<(usize, String)> = links_of(text);
        let expected = [(1, "b.md"), (1, "c d.png"), (1, "e(1).md"), (5, "f.md")];
        assert_eq!(found, expected.map(|(line, link)| (line, link.to_owned())));
    }

    #[test]
    fn a_link_resolves_from_its_own_file() {
        let check = |link: &str| {
            let text = format!("see [a]({link})");
            links(&Tree::of(&[
                ("proto/README.md", &text),
                ("proto/src/lib.rs", ""),
                ("README.md", ""),
            ]))
            .len()
        };
        for good in [
            "src/lib.rs",
            "src",
            "src/",
            "../README.md#top",
            "#here",
            "https://example.org/x",
            "mailto:a@b",
            "crate::Event",
            "..",
        ] {
            assert_eq!(check(good), 0, "{good}");
        }
        for bad in ["lib.rs", "../../README.md", "/proto/src/lib.rs", "src/lib"] {
            assert_eq!(check(bad), 1, "{bad}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_noticed() {
        let line = |parts: &[&str]| machine_path(&parts.concat()).is_some();
        assert!(line(&["cd /wo", "rk/main"]));
        assert!(line(&["\"/ro", "ot/.cargo\""]));
        assert!(line(&["file:///ho", "me/ada/x"]));
        assert!(!line(&[
            "${CLONE}/wo",
            "rk/x and frame/wo",
            "rk/x, /wo",
            "rker/x"
        ]));
        assert!(!line(&["/ho", "me/<name>/x"]));
    }
}
