//! Any documents of an image, as an OCI layout, as the same layout in an archive, and as what
//! `docker save` wrote: nothing panics, the layout is the same image wherever it lies, and what is
//! resolved is within bounds.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pybuild::model::{Arch, Event, Observer};
use pybuild::net::{Client, Settings};
use pybuild::rootfs::oci::{
    Access, Inputs, OciError, Place, Reference, Registries, Resolved, Tools, resolve,
};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;
use pybuild_fuzz::layout::Layout;

struct Here {
    dir: tempfile::TempDir,
    store: Store,
    client: Client,
    registries: Registries,
    interrupt: Interrupt,
}

static HERE: LazyLock<Here> = LazyLock::new(|| {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.expect("a temporary directory");
    Here {
        store: Store::open(&dir.path().join("store")).expect("a store"),
        client: Client::new(Settings::default()),
        registries: Registries::new(Access::resolve(&Inputs::default()).expect("no settings")),
        interrupt: Interrupt::manual().expect("an eventfd"),
        dir,
    }
});

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: Event) {}
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    names(text);
    let layout = Layout::parse(text);
    let dir = HERE.dir.path().join("layout");
    let _ = fs::remove_dir_all(&dir);
    layout.write(&dir).expect("a layout");
    let archive = HERE.dir.path().join("image.tar");
    fs::write(&archive, layout.tar()).expect("an archive");
    let docker = HERE.dir.path().join("docker.tar");
    fs::write(&docker, layout.docker()).expect("an archive");

    for name in [None, Some("debian:12".to_owned())] {
        let lies = Place::Layout {
            dir: dir.clone(),
            name: name.clone(),
        };
        let one = image(&lies);
        let other = image(&packed(&archive, name.clone()));
        assert_eq!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
        if let (Ok(one), Ok(other)) = (one, other) {
            let place = other.place.clone();
            assert_eq!(Resolved { place, ..one }, other);
        }
        let _ = image(&packed(&docker, name));
    }
});

fn packed(file: &Path, name: Option<String>) -> Place {
    Place::DockerArchive {
        file: file.to_owned(),
        name,
    }
}

fn image(place: &Place) -> Result<Resolved, OciError> {
    let here = &*HERE;
    let tools = Tools {
        store: &here.store,
        client: &here.client,
        registries: &here.registries,
        observer: &Nobody,
        interrupt: &here.interrupt,
    };
    let result = resolve(place, Arch::Amd64, &tools);
    match &result {
        Ok(resolved) => {
            assert!((1..=512).contains(&resolved.layers.len()));
            assert!(resolved.env.iter().all(|(name, _)| !name.is_empty()));
            let nul = |text: &String| text.contains('\0');
            assert!(
                !resolved
                    .env
                    .iter()
                    .any(|(name, value)| nul(name) || nul(value))
            );
            for layer in &resolved.layers {
                // An archive's members may be empty: their digest says what they must be.
                assert!(layer.size <= 32 << 30);
                let same = |other: &&_| {
                    let other: &pybuild::rootfs::oci::LayerRef = other;
                    other.digest == layer.digest
                };
                let twins = resolved.layers.iter().filter(same);
                assert!(twins.clone().all(|twin| twin.diff_id == layer.diff_id));
            }
            let _ = resolved.size();
        }
        Err(error) => {
            // It says so in words, and a reader of bounded patience gets to their end.
            let text = error.to_string();
            assert!(!text.is_empty());
            assert!(!text.contains(['\x1b', '\0']), "{text:?}");
        }
    }
    result
}

/// Names of images: one that is understood means the same when it is read again.
fn names(text: &str) {
    let line = text.lines().next().unwrap_or_default();
    if let Ok(reference) = line.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("a reference");
        assert_eq!(again, reference);
        let again: Reference = reference.canonical().parse().expect("a reference");
        assert_eq!(again, reference);
    }
    if let Ok(place) = line.parse::<Place>() {
        assert_eq!(place.to_string().parse(), Ok(place));
    }
}
