//! Images made of the host's own programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pybuild::artifact::elf::{Machine, elves};
use pybuild::artifact::image::Image;
use pybuild::artifact::loader::resolve;
use pybuild::artifact::tree::Tree;
use pybuild::model::Arch;

/// `/bin/sh` of this host with the libraries it needs.
pub(crate) fn shell_image(image: &Path) {
    image_of(&["sh"], image);
}

/// These programs of this host's `/bin` with the libraries they need.
pub(crate) fn image_of(programs: &[&str], image: &Path) {
    let bin = image.join("bin");
    fs::create_dir_all(&bin).expect("mkdir");
    for program in programs {
        let from = Path::new("/bin").join(program);
        fs::copy(from, bin.join(program)).expect(program);
    }
    let machine = Machine::of(Arch::host().expect("a known machine"));
    let host = Image::new(&[PathBuf::from("/")]);
    // Libraries need others: until nothing new is needed.
    let lib = image.join("lib");
    fs::create_dir_all(&lib).expect("mkdir");
    let mut dir = bin;
    let mut known = BTreeSet::new();
    loop {
        let (sound, broken) = elves(&Tree::read(&dir).expect("a tree")).expect("readable");
        assert!(broken.is_empty());
        let found = resolve(
            &sound,
            &host,
            &"/bin".parse().expect("a path"),
            &[],
            machine,
        )
        .expect("readable");
        assert_eq!(found.unresolved, []);
        let interpreters = sound.iter().filter_map(|elf| elf.interpreter.clone());
        for interpreter in interpreters.map(PathBuf::from) {
            let to = image.join(interpreter.strip_prefix("/").expect("absolute"));
            fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
            fs::copy(interpreter, to).expect("copied");
        }
        let before = known.len();
        for (name, library) in found.libraries {
            // Where the loader looks without a cache.
            fs::copy(&library, lib.join(&name)).expect("copied");
            // Where the host has it.
            let to = image.join(library.strip_prefix("/").expect("absolute"));
            fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
            fs::copy(&library, to).expect("copied");
            known.insert(name);
        }
        if known.len() == before {
            return;
        }
        dir.clone_from(&lib);
    }
}
