//! A run image made of the host's own shell.

use std::fs;
use std::path::{Path, PathBuf};

use pybuild::artifact::elf::{Machine, elves};
use pybuild::artifact::image::Image;
use pybuild::artifact::loader::resolve;
use pybuild::artifact::tree::Tree;
use pybuild::model::Arch;

/// `/bin/sh` of this host with the libraries it needs.
pub(crate) fn shell_image(image: &Path) {
    let bin = image.join("bin");
    fs::create_dir_all(&bin).expect("mkdir");
    fs::copy("/bin/sh", bin.join("sh")).expect("a shell");
    let (sound, broken) = elves(&Tree::read(&bin).expect("a tree")).expect("readable");
    assert!(broken.is_empty());
    let machine = Machine::of(Arch::host().expect("a known machine"));
    let host = Image::new(&[PathBuf::from("/")]);
    let found =
        resolve(&sound, &host, &"/bin".parse().expect("a path"), machine).expect("readable");
    assert_eq!(found.unresolved, []);
    let interpreter = sound[0].interpreter.clone().expect("it is dynamic");
    let real: Vec<PathBuf> = found.libraries.into_values().collect();
    for library in real
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new(&interpreter)])
    {
        let to = image.join(library.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
        fs::copy(library, to).expect("copied");
    }
    // Where the loader looks without a cache.
    for library in &real {
        let to = image.join("lib").join(library.file_name().expect("a name"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("mkdir");
        fs::copy(library, to).expect("copied");
    }
}
