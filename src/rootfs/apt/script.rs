//! The sandbox that apt runs in, and what it is told to do there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rootfs::Package;
use crate::sandbox::{
    Access, Bind, Changes, Command, Identity, Limits, Network, Privileges, Root, SandboxSpec,
};

/// Whom to ask for addresses, on this host and in the sandbox.
pub(super) const RESOLVER: &str = "/etc/resolv.conf";
/// Of this process's environment, what apt needs to get out.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
];
/// With which the script says that there is no apt, which itself ends with 100 and less.
pub(super) const NO_APT: i32 = 120;

/// A sandbox of an image in which root runs this script.
pub(super) fn spec(layers: Vec<PathBuf>, changes: Changes, script: &str) -> SandboxSpec {
    let mut env: BTreeMap<String, String> = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBIAN_PRIORITY", "critical"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
        ("APT_CONFIG", "/tmp/apt/apt.conf"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let set = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    env.extend(PROXIES.into_iter().filter_map(set));
    // Without it, the host resolves names in a way of its own, which the image may not know.
    let resolver = Path::new(RESOLVER).exists().then(|| Bind {
        source: RESOLVER.into(),
        target: RESOLVER.parse().expect("an absolute path"),
        access: Access::ReadOnly,
    });
    SandboxSpec {
        root: Root { layers, changes },
        binds: resolver.into_iter().collect(),
        identity: Identity::ROOT,
        privileges: Privileges::Prepare,
        network: Network::Host,
        limits: Limits {
            wall: Duration::from_secs(2 * 3600),
            memory: 4 << 30,
            processes: 4096,
            file_size: 4 << 30,
            output: 256 << 20,
            tmpfs: 4 << 30,
        },
        terminal: None,
        command: Command {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env,
            cwd: "/".parse().expect("the root is a path"),
        },
    }
}

/// apt as it is to be: as root, who is the only user there is; without recommendations; with all
/// that it keeps for itself in `/tmp`.
const CONFIGURATION: &str = r#"APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "/tmp/apt/cache";
Dir::Log "/tmp/apt/log";
Dir::State::Lists "/tmp/apt/lists";
Dpkg::Use-Pty "false";
Dpkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; "--log=/tmp/apt/dpkg.log"; };
"#;

/// What every script begins with: apt is configured, and knows what there is.
fn beginning(sources: &[String]) -> String {
    let mut script = format!(
        "set -eu\n\
         command -v apt-get >/dev/null || exit {NO_APT}\n\
         umask 022\n\
         mkdir -p /tmp/apt/cache/archives/partial /tmp/apt/log /tmp/apt/lists/partial\n\
         cat >/tmp/apt/apt.conf <<'END'\n{CONFIGURATION}"
    );
    if !sources.is_empty() {
        script.push_str(
            "Dir::Etc::SourceList \"/tmp/apt/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n",
        );
    }
    script.push_str("END\n");
    if !sources.is_empty() {
        script.push_str("cat >/tmp/apt/sources.list <<'END'\n");
        for line in sources {
            let _ = writeln!(script, "{line}");
        }
        script.push_str("END\n");
    }
    // Of many sources one may be gone that nothing is wanted of: whether it matters, is seen then.
    script.push_str("apt-get update || echo \"apt-get update: exit code $?\"\n");
    script
}

/// What root of the sandbox runs to install packages. Names and lines were checked when the manifest
/// was read, and arguments are quoted: nothing in them ends a here-document or is an option.
pub(super) fn install(arguments: &[String], sources: &[String]) -> String {
    let mut script = beginning(sources);
    // Told to whatever would start a service: do not (invoke-rc.d(8)).
    script.push_str(
        "policy=/usr/sbin/policy-rc.d ours=\n\
         if [ -d /usr/sbin ] && [ ! -e $policy ]; then\n\
         \tours=$policy\n\
         \tprintf '#!/bin/sh\\nexit 101\\n' >$policy\n\
         \tchmod 755 $policy\n\
         fi\n",
    );
    let _ = writeln!(script, "apt-get install -- {}", words(arguments));
    script.push_str(
        "[ -z \"$ours\" ] || rm -f \"$ours\"\n\
         rm -f /var/log/alternatives.log /var/log/dpkg.log /var/lib/dpkg/*-old \\\n\
         \t/var/cache/debconf/*-old /var/cache/ldconfig/aux-cache\n",
    );
    script
}

/// What root of the sandbox runs to hear what apt would install, as `apt-get --simulate` prints it.
pub(super) fn simulate(arguments: &[String], sources: &[String]) -> String {
    let mut script = beginning(sources);
    // Writing to a String cannot fail.
    let _ = writeln!(script, "apt-get install --simulate -- {}", words(arguments));
    script
}

/// What makes apt install just the packages of the one list on top of those of the other.
pub(super) fn exactly(there: &[Package], wanted: &[Package]) -> Vec<String> {
    let full = |package: &Package| match package.arch.as_str() {
        "all" => package.name.clone(),
        arch => format!("{}:{arch}", package.name),
    };
    let is_other = |package: &&Package| !there.contains(package);
    let install = wanted.iter().filter(is_other);
    let install = install.map(|package| format!("{}={}", full(package), package.version));
    // What was of one architecture may be of all later.
    let stays = |package: &&Package| {
        wanted.iter().any(|other| {
            let arches = [package.arch.as_str(), other.arch.as_str()];
            other.name == package.name && (arches[0] == arches[1] || arches.contains(&"all"))
        })
    };
    let gone = there.iter().filter(|package| !stays(package));
    let remove = gone.map(|package| format!("{}-", full(package)));
    install.chain(remove).collect()
}

/// As words of sh's.
fn words(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    quoted.join(" ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_given_sources_only_if_there_are_some() {
        let wanted = ["a".to_owned(), "g++".to_owned()];
        let own = install(&wanted, &[]);
        let command = "\napt-get install -- 'a' 'g++'\n";
        assert!(own.contains(command), "{own}");
        assert!(!own.contains("sources.list"), "{own}");
        let line = "deb http://mirror.example.org/a $b `c` main".to_owned();
        let given = install(&wanted, std::slice::from_ref(&line));
        assert!(
            given.contains(&format!("<<'END'\n{line}\nEND\n")),
            "{given}"
        );
        assert!(
            given.contains("Dir::Etc::SourceParts \"/dev/null\""),
            "{given}"
        );
    }

    #[test]
    fn exact_versions_are_asked_for_and_what_is_too_much_goes() {
        let package = |text: &str| {
            let mut words = text.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            Package {
                name: word(),
                version: word(),
                arch: word(),
            }
        };
        let there = ["a 1 amd64", "b 1 all", "c 1 amd64", "d 1 amd64"].map(package);
        let wanted = ["a 1 amd64", "b 2 all", "c 1 i386", "d 1~'x' amd64"].map(package);
        assert_eq!(
            exactly(&there, &wanted),
            ["b=2", "c:i386=1", "d:amd64=1~'x'", "c:amd64-"]
        );
        assert_eq!(exactly(&there, &there), [""; 0]);
        assert_eq!(quoted("1~'x'"), r"'1~'\''x'\'''");
    }
}
