//! A real bootstrap from this host's own mirror, and what dpkg and a compiler say of the result.
//!
//! Without the test harness: the sandbox starts this very executable again, and its `main` must
//! become the sandbox's child then.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pybuild::archive::Ownership;
use pybuild::model::{Arch, Quiet};
use pybuild::net::{Client, Settings};
use pybuild::rootfs::oci::Access;
use pybuild::rootfs::{
    self, Catalog, Image, Manifest, Mirrors, Rootfs, RootfsError, Tools, Wanted,
};
use pybuild::sandbox::{
    self, Changes, Command, End, Host, Identity, Input, Limits, Network, Output, Privileges, Root,
    SandboxSpec,
};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;

const NAME: &str = "debian_12_is_bootstrapped_whole";

fn main() {
    sandbox::become_child_if_asked();
    // What the harness does for others: a list on request, and a filter by name.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        println!("{NAME}: test");
        return;
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return;
    }
    // An ordinary user may not write to where root has compiled.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory");
    // The sandbox's user, who is not root, must get through.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let store = Store::open(dir.path()).expect("a store");
    match Host::probe(&dir.path().join("scratch")) {
        Ok(host) => Bench { store, host }.debian_12_is_bootstrapped_whole(),
        Err(error) if std::env::var_os("CI").is_some() => panic!("no sandbox here: {error}"),
        Err(error) => eprintln!("\n{NAME} WAS NOT RUN: no sandbox here: {error}\n"),
    }
    println!("test {NAME} ... ok");
}

struct Bench {
    store: Store,
    host: Host,
}

impl Bench {
    fn debian_12_is_bootstrapped_whole(&self) {
        let catalog = Catalog::load(None).expect("the catalogue");
        let name = "debian-12".parse().expect("a name");
        let manifest = catalog.get(&name).expect("the stack");
        let arch = Arch::host().expect("an architecture");
        let none = rootfs::prepared(manifest, arch, &self.store).expect("readable");
        assert_eq!(none, None);

        let made = self.prepare(manifest, mirror()).expect("a rootfs");
        let Rootfs { run, build, .. } = &made;
        for image in [run, build] {
            let packages = self.say(image, "dpkg-query -W -f '${db:Status-Abbrev}|\\n'");
            assert_eq!(packages.lines().count(), image.packages.len());
            let unfinished: Vec<_> = packages.lines().filter(|line| *line != "ii |").collect();
            assert!(unfinished.is_empty(), "{unfinished:?}");
            assert_eq!(self.say(image, "dpkg --audit; dpkg --verify"), "");
            // What scripts copied can be read by everyone, and nothing is of the bootstrap's host.
            assert_eq!(self.say(image, "stat -c %a /etc/nsswitch.conf"), "644\n");
            let foreign = "ls /etc/resolv.conf /etc/hostname /usr/sbin/policy-rc.d 2>/dev/null";
            assert_eq!(self.say(image, &format!("{foreign} || :")), "");
            assert_eq!(self.say(image, "find /etc -name '*.dpkg-new'"), "");
        }
        self.owners_are_those_of_a_debian_that_root_has_installed(run, build);
        let compilers = "for p in gcc cc ld make; do command -v $p; done; ls /usr/include || :";
        assert_eq!(
            self.say(run, &format!("{{ {compilers}; }} 2>/dev/null")),
            ""
        );
        let libraries = "ssl crypto z bz2 lzma ffi readline ncursesw gdbm gdbm_compat db uuid expat \
             sqlite3 zstd crypt";
        let flags = libraries.replace(' ', " -l");
        let compile = format!(
            "cd /tmp && echo 'int main() {{ return 0; }}' >t.c && gcc t.c -Wl,--no-as-needed -l{flags} \
             && ./a.out && ldd a.out | grep -c 'not found' || :"
        );
        assert_eq!(self.say(build, &compile), "0\n");
        assert_eq!(self.say(build, "echo 'puts 1' | tclsh"), "1\n");

        // From here on nobody is asked for anything.
        let nowhere = Some("http://127.0.0.1:1/debian".to_owned());
        let again = self.prepare(manifest, nowhere.clone()).expect("prepared");
        assert_eq!(again, made);

        // A killed run may leave the lower layer alone: only the upper one is made again.
        let upper = build.layers[1].parent().expect("a layer");
        fs::remove_file(upper.join("layer.json")).expect("a layer's description");
        let lower = fs::metadata(run.layers[0].join("etc/passwd")).expect("a file");
        assert!(self.prepare(manifest, nowhere).is_err());
        let again = self.prepare(manifest, mirror()).expect("a rootfs");
        assert_eq!(again, made);
        let still = fs::metadata(run.layers[0].join("etc/passwd")).expect("a file");
        assert_eq!(
            still.modified().expect("a time"),
            lower.modified().expect("a time")
        );
        assert_eq!(self.say(build, "dpkg --audit; dpkg --verify"), "");
        let left = fs::read_dir(self.store.root().join("scratch")).expect("the scratch room");
        assert_eq!(left.count(), 0);
    }

    fn owners_are_those_of_a_debian_that_root_has_installed(&self, run: &Image, build: &Image) {
        const SHADOW: u32 = 42;
        let tree = &run.layers[0];
        let lower = ownership(tree);
        let expected: [(&str, u32, u32); 10] = [
            ("usr/bin/su", 0, 0o4755),
            ("usr/bin/newgrp", 0, 0o4755),
            ("usr/sbin/unix_chkpwd", SHADOW, 0o2755),
            ("usr/bin/ls", 0, 0o755),
            ("var/mail", 8, 0o2775),
            ("var/local", 50, 0o2775),
            ("var/log/btmp", 43, 0o660),
            ("var/log/wtmp", 43, 0o664),
            ("tmp", 0, 0o1777),
            ("root", 0, 0o700),
        ];
        for (path, gid, mode) in expected {
            let owned = lower.get(path.as_bytes()).cloned().unwrap_or_default();
            let on_disk = fs::symlink_metadata(tree.join(path)).expect(path);
            let on_disk = on_disk.permissions().mode() & 0o7777;
            let found = (owned.uid, owned.gid, owned.mode.unwrap_or(on_disk));
            assert_eq!(found, (0, gid, mode), "{path}");
            assert_eq!(on_disk & 0o6000, 0, "{path}");
        }
        assert_eq!(ownership(&build.layers[1]).iter().count(), 0);

        // A system user that is added in a layer above leaves the shadow file to its group.
        let passwd = self.with_packages(
            "passwd-12",
            r#""passwd", "usr-is-merged""#,
            r#""openssh-client""#,
        );
        let tree = &passwd.run.layers[0];
        let lower = ownership(tree);
        let table = [
            ("etc/shadow", SHADOW, None),
            ("usr/bin/chage", SHADOW, Some(0o2755)),
            ("usr/bin/passwd", 0, Some(0o4755)),
        ];
        for (path, gid, mode) in table {
            let owned = lower.get(path.as_bytes()).expect(path);
            assert_eq!((owned.uid, owned.gid, owned.mode), (0, gid, mode), "{path}");
        }
        let mode = |path: &str| {
            fs::metadata(tree.join(path))
                .expect(path)
                .permissions()
                .mode()
        };
        assert_eq!(mode("etc/shadow") & 0o7777, 0o640);
        let upper = ownership(&passwd.build.layers[1]);
        let group = |path: &str| upper.get(path.as_bytes()).map(|owned| owned.gid);
        assert_eq!(group("etc/gshadow"), Some(SHADOW));
        assert_eq!(group("etc/group"), None);
        assert!(group("usr/bin/ssh-agent").is_some_and(|gid| gid >= 100));
    }

    /// A stack of Debian's essential packages, of these, and of these in its build image.
    fn with_packages(&self, name: &str, run: &str, build: &str) -> Rootfs {
        let dir = self.store.scratch().expect("scratch");
        let text = format!(
            "schema = 1\nname = \"{name}\"\nend_of_life = 2099-01-01\n\
             architectures = [\"amd64\", \"arm64\"]\n\n\
             [debian]\nsuites = [\"bookworm\"]\ncomponents = [\"main\"]\n\
             keyring = \"debian-archive\"\nrun = [{run}]\nbuild = [{build}]\n"
        );
        fs::write(dir.path().join(format!("{name}.toml")), text).expect("written");
        let catalog = Catalog::load(Some(dir.path())).expect("the catalogue");
        let name = name.parse().expect("a name");
        let manifest = catalog.get(&name).expect("the stack");
        self.prepare(manifest, mirror()).expect("a rootfs")
    }

    fn prepare(&self, manifest: &Manifest, mirror: Option<String>) -> Result<Rootfs, RootfsError> {
        let tools = Tools {
            store: &self.store,
            client: &Client::new(Settings::default()),
            host: &self.host,
            observer: &Quiet,
            interrupt: &Interrupt::manual().expect("an eventfd"),
            mirrors: Mirrors::none(),
            mirror,
            access: &|| Ok(Access::default()),
            jobs: 2,
        };
        rootfs::prepare(
            manifest,
            Arch::host().expect("an architecture"),
            Wanted::Here,
            &tools,
        )
    }

    /// What a script prints in an image.
    fn say(&self, image: &Image, script: &str) -> String {
        let scratch = self.store.scratch().expect("scratch");
        let [upper, work] = ["upper", "work"].map(|name| self.directory(scratch.path(), name));
        let spec = SandboxSpec {
            root: Root {
                layers: image.layers.clone(),
                changes: Changes::Kept { upper, work },
            },
            binds: Vec::new(),
            identity: Identity::ROOT,
            privileges: Privileges::Prepare,
            network: Network::None,
            limits: Limits {
                wall: Duration::from_secs(600),
                memory: 4 << 30,
                processes: 4096,
                file_size: 4 << 30,
                output: 64 << 20,
                tmpfs: 1 << 30,
            },
            terminal: None,
            command: Command {
                argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                env: BTreeMap::from([
                    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                    ("LC_ALL", "C.UTF-8"),
                ])
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
                cwd: "/".parse().expect("a path"),
            },
        };
        let mut said = Vec::new();
        let outcome = sandbox::run(
            &spec,
            &self.host,
            Input::Null,
            Output::Lines(&mut |bytes| said.extend_from_slice(bytes)),
            &Interrupt::manual().expect("an eventfd"),
        );
        let said = String::from_utf8(said).expect("UTF-8");
        assert_eq!(
            outcome.expect("a run").end,
            End::Exited(0),
            "{script}: {said}"
        );
        said
    }

    /// A directory for the sandbox's user.
    fn directory(&self, scratch: &Path, name: &str) -> std::path::PathBuf {
        let path = scratch.join(name);
        fs::create_dir(&path).expect("mkdir");
        if self.host.is_root() {
            let outside = self.host.outside();
            std::os::unix::fs::chown(&path, Some(outside.uid), Some(outside.gid)).expect("chown");
        }
        path
    }
}

/// What is not on the disk of the layer with this tree.
fn ownership(tree: &Path) -> Ownership {
    let layer = tree.parent().expect("a layer");
    let ownership = rootfs::ownership(layer).expect("readable");
    ownership.expect("it was written down")
}

fn mirror() -> Option<String> {
    std::env::var("PYBUILD_DEBIAN_MIRROR").ok()
}
