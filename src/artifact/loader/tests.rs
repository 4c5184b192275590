//! The loader's rules, tried on libraries made by the host's compiler in hand-made images, and on
//! the host's own files.

use std::fs;
use std::process::Command;

use super::*;
use crate::artifact::elf::elves;
use crate::artifact::tree::Tree;
use crate::model::Arch;

/// A run image and a prefix in a temporary directory, filled by `cc`.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for path in ["image/etc", "image/usr/lib", "prefix/lib", "prefix/bin"] {
            fs::create_dir_all(dir.path().join(path)).expect("mkdir");
        }
        std::os::unix::fs::symlink("usr/lib", dir.path().join("image/lib")).expect("symlink");
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Links an object at `path` that needs `libs` (paths of this world), with more flags.
    fn cc(&self, path: &str, libs: &[&str], flags: &[&str]) {
        let out = self.at(path);
        fs::create_dir_all(out.parent().expect("a parent")).expect("mkdir");
        let source = self.at("source.c");
        fs::write(&source, "int _start(void) { return 0; }\n").expect("write");
        let status = Command::new("cc")
            .args([
                "-nostdlib",
                "-fPIC",
                "-Wl,--no-as-needed",
                "-Wl,--allow-shlib-undefined",
            ])
            .arg("-o")
            .arg(&out)
            .arg(&source)
            .args(flags)
            .args(libs.iter().map(|lib| self.at(lib)))
            .status()
            .expect("a C compiler, which pybuild's own build needs too");
        assert!(status.success(), "{path}");
    }

    /// A library whose soname is its file name.
    fn lib(&self, path: &str, libs: &[&str], flags: &[&str]) {
        let name = path.rsplit('/').next().expect("a name");
        let soname = format!("-Wl,-soname,{name}");
        let flags: Vec<&str> = ["-shared", soname.as_str()]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        self.cc(path, libs, &flags);
    }

    /// A program with an interpreter that is in the image.
    fn program(&self, path: &str, libs: &[&str], flags: &[&str]) {
        if !self.at("image/usr/lib/ld-test.so").exists() {
            self.lib("image/usr/lib/ld-test.so", &[], &[]);
        }
        let flags: Vec<&str> = ["-pie", "-Wl,--dynamic-linker=/lib/ld-test.so"]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        self.cc(path, libs, &flags);
    }

    fn resolve_at(&self, guest: &str) -> Resolution {
        let guest = guest.parse().expect("a path");
        let tree = Tree::read(&self.at("prefix")).expect("a tree");
        let (elves, broken) = elves(&tree).expect("readable");
        assert_eq!(broken, []);
        let image = Image::new(&[self.at("image")]).with_mount(&guest, &self.at("prefix"));
        let machine = Machine::of(Arch::host().expect("a known machine"));
        resolve(&elves, &image, &guest, &[], machine).expect("readable")
    }

    fn unresolved(&self) -> Vec<String> {
        let shown = self.resolve_at("/app/python").unresolved;
        shown.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn libraries_of_the_image_are_found_and_recorded() {
    let world = World::new();
    world.lib("image/usr/lib/libdeep.so.1", &[], &[]);
    world.lib(
        "image/usr/lib/liba.so.1",
        &["image/usr/lib/libdeep.so.1"],
        &[],
    );
    world.program("prefix/bin/x", &["image/usr/lib/liba.so.1"], &[]);
    let found = world.resolve_at("/app/python");
    assert_eq!(found.unresolved, []);
    let libraries: Vec<_> = found.libraries.into_iter().collect();
    // By the real place behind the merged `/lib`; what only a library of the image needs is that
    // library's affair.
    assert_eq!(
        libraries,
        [
            (
                "ld-test.so".to_owned(),
                PathBuf::from("/usr/lib/ld-test.so")
            ),
            ("liba.so.1".to_owned(), PathBuf::from("/usr/lib/liba.so.1")),
        ]
    );
}

#[test]
fn what_is_missing_is_named_with_who_needs_it() {
    let world = World::new();
    world.lib("gone/libgone.so.1", &[], &[]);
    world.lib("gone/libdeep.so.1", &[], &[]);
    world.lib("image/usr/lib/liba.so.1", &["gone/libdeep.so.1"], &[]);
    world.lib(
        "prefix/lib/mod.so",
        &["gone/libgone.so.1", "image/usr/lib/liba.so.1"],
        &[],
    );
    world.cc(
        "prefix/bin/x",
        &[],
        &["-pie", "-Wl,--dynamic-linker=/lib/ld-none.so"],
    );
    assert_eq!(
        world.unresolved(),
        [
            "bin/x needs the loader /lib/ld-none.so, which is not there",
            "lib/mod.so needs libdeep.so.1, which is not there (by /usr/lib/liba.so.1)",
            "lib/mod.so needs libgone.so.1, which is not there",
        ]
    );
}

#[test]
fn directories_of_ld_so_conf_are_searched() {
    let world = World::new();
    world.lib("image/opt/one/libone.so", &[], &[]);
    world.lib("image/opt/two/libtwo.so", &[], &[]);
    world.lib("image/opt/three/libthree.so", &[], &[]);
    let libs = [
        "image/opt/one/libone.so",
        "image/opt/two/libtwo.so",
        "image/opt/three/libthree.so",
    ];
    world.lib("prefix/lib/mod.so", &libs, &[]);
    assert_eq!(world.unresolved().len(), 3);
    fs::create_dir(world.at("image/etc/ld.so.conf.d")).expect("mkdir");
    fs::write(
        world.at("image/etc/ld.so.conf"),
        "# comment\ninclude ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n/opt/one:/x # more\n",
    )
    .expect("write");
    fs::write(world.at("image/etc/ld.so.conf.d/a.conf"), "\t/opt/two\n").expect("write");
    fs::write(world.at("image/etc/ld.so.conf.d/b.other"), "/opt/three\n").expect("write");
    assert_eq!(
        world.unresolved(),
        ["lib/mod.so needs libthree.so, which is not there"]
    );
}

#[test]
fn runpath_is_for_the_file_itself_and_rpath_for_all_it_loads() {
    for (flag, found) in [
        ("-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib", false),
        ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib", true),
        ("-Wl,--disable-new-dtags,-rpath,${ORIGIN}/../lib", true),
        ("-Wl,--disable-new-dtags,-rpath,/app/python/lib", true),
        ("-Wl,--disable-new-dtags,-rpath,/elsewhere", false),
        ("-Wl,--disable-new-dtags,-rpath,../lib", false),
    ] {
        let world = World::new();
        world.lib("prefix/lib/libinner.so", &[], &[]);
        world.lib("prefix/lib/libouter.so", &["prefix/lib/libinner.so"], &[]);
        world.program("prefix/bin/x", &["prefix/lib/libouter.so"], &[flag]);
        assert_eq!(world.unresolved().is_empty(), found, "{flag}");
    }
}

#[test]
fn an_absolute_search_path_does_not_survive_a_move() {
    for (flag, moves) in [
        ("-Wl,-rpath,/app/python/lib", false),
        ("-Wl,-rpath,$ORIGIN/../lib", true),
    ] {
        let world = World::new();
        world.lib("prefix/lib/libp.so", &[], &[]);
        world.program("prefix/bin/x", &["prefix/lib/libp.so"], &[flag]);
        assert_eq!(world.resolve_at("/app/python").unresolved, []);
        let moved = world.resolve_at("/elsewhere");
        assert_eq!(moved.unresolved.is_empty(), moves, "{flag}");
    }
}

#[test]
fn an_extension_module_may_rely_on_what_its_program_has_loaded() {
    let world = World::new();
    world.lib("prefix/lib/libpython.so.1", &[], &[]);
    world.lib(
        "prefix/lib/dynload/mod.so",
        &["prefix/lib/libpython.so.1"],
        &[],
    );
    assert_eq!(
        world.unresolved(),
        ["lib/dynload/mod.so needs libpython.so.1, which is not there"]
    );
    let rpath = "-Wl,-rpath,$ORIGIN/../lib";
    world.program(
        "prefix/bin/python",
        &["prefix/lib/libpython.so.1"],
        &[rpath],
    );
    assert_eq!(world.unresolved(), [""; 0]);
}

#[test]
fn a_library_that_is_too_old_is_told_from_one_that_is_missing() {
    let world = World::new();
    fs::write(world.at("new.map"), "V_1 { }; V_2 { *; } V_1;\n").expect("write");
    fs::write(world.at("old.map"), "V_1 { *; };\n").expect("write");
    let map = |name: &str| format!("-Wl,--version-script={}", world.at(name).display());
    // A program that uses `_start` of the library by version.
    let build = |lib: &str, map: &str| {
        let source = world.at("versioned.c");
        fs::write(&source, "int answer(void) { return 42; }\n").expect("write");
        let status = Command::new("cc")
            .args([
                "-shared",
                "-nostdlib",
                "-fPIC",
                "-Wl,-soname,libv.so.1",
                map,
                "-o",
            ])
            .arg(world.at(lib))
            .arg(&source)
            .status()
            .expect("a C compiler");
        assert!(status.success());
    };
    fs::create_dir(world.at("new")).expect("mkdir");
    build("new/libv.so.1", &map("new.map"));
    build("image/usr/lib/libv.so.1", &map("old.map"));
    let user = world.at("user.c");
    fs::write(
        &user,
        "int answer(void); int use(void) { return answer(); }\n",
    )
    .expect("write");
    let status = Command::new("cc")
        .args(["-shared", "-nostdlib", "-fPIC", "-o"])
        .args([
            world.at("prefix/lib/mod.so"),
            user,
            world.at("new/libv.so.1"),
        ])
        .status()
        .expect("a C compiler");
    assert!(status.success());
    assert_eq!(
        world.unresolved(),
        ["lib/mod.so needs V_2 of libv.so.1, which is older"]
    );
    build("image/usr/lib/libv.so.1", &map("new.map"));
    assert_eq!(world.unresolved(), [""; 0]);
}

#[test]
fn files_for_another_machine_are_told_and_passed_over() {
    let world = World::new();
    world.lib("image/usr/lib/liba.so", &[], &[]);
    world.lib("prefix/lib/mod.so", &["image/usr/lib/liba.so"], &[]);
    let foreign = |path: &str| {
        let mut data = fs::read(world.at(path)).expect("read");
        data[18..20].copy_from_slice(&243u16.to_le_bytes()); // EM_RISCV
        data
    };
    fs::write(
        world.at("prefix/lib/foreign.so"),
        foreign("prefix/lib/mod.so"),
    )
    .expect("write");
    fs::write(
        world.at("image/usr/lib/liba.so"),
        foreign("image/usr/lib/liba.so"),
    )
    .expect("write");
    assert_eq!(
        world.unresolved(),
        [
            "lib/foreign.so is for another machine (ELF machine 243)",
            "lib/mod.so needs liba.so, which is not there",
        ]
    );
}

#[test]
fn libraries_in_a_circle_end() {
    let world = World::new();
    world.lib("image/usr/lib/liba.so", &[], &[]);
    world.lib("image/usr/lib/libb.so", &["image/usr/lib/liba.so"], &[]);
    world.lib("image/usr/lib/liba.so", &["image/usr/lib/libb.so"], &[]);
    world.lib("prefix/lib/mod.so", &["image/usr/lib/liba.so"], &[]);
    assert_eq!(world.unresolved(), [""; 0]);
}

#[test]
fn programs_of_the_host_resolve_on_the_host() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("bin")).expect("mkdir");
    for program in ["ls", "sh", "tar"] {
        fs::copy(
            Path::new("/bin").join(program),
            dir.path().join("bin").join(program),
        )
        .expect("copied");
    }
    let tree = Tree::read(dir.path()).expect("a tree");
    let (elves, broken) = elves(&tree).expect("readable");
    assert_eq!((elves.len(), broken.len()), (3, 0));
    let guest: GuestPath = "/app/x".parse().expect("a path");
    let image = Image::new(&[PathBuf::from("/")]).with_mount(&guest, dir.path());
    let machine = Machine::of(Arch::host().expect("a known machine"));
    let found = resolve(&elves, &image, &guest, &[], machine).expect("readable");
    assert_eq!(found.unresolved, []);
    // The host's own loader finds the same files.
    let listed = Command::new("ldd")
        .args(["ls", "sh", "tar"].map(|program| dir.path().join("bin").join(program)))
        .output()
        .expect("ldd (libc-bin) is there");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .filter_map(|(name, found)| Some((name, found.split(' ').next()?)))
        .collect();
    assert!(found.libraries.contains_key("libc.so.6"));
    for (name, path) in &found.libraries {
        // The interpreter is listed by its path.
        if let Some(listed) = listed.get(name.as_str()) {
            assert_eq!(&fs::canonicalize(listed).expect("there"), path, "{name}");
        }
    }
    assert!(listed.contains_key("libc.so.6"), "{listed:?}");
}
