//! Any bytes, taken for a layer of an image, for a package and for a sealed tarball: nothing beside
//! the root is touched, nothing panics.
//!
//! The first byte says where the input is cut in two layers, so that the second meets what the
//! first has put there. Checksums of headers are made right: otherwise hardly any input would get
//! further than them.

#![no_main]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pybuild::archive::{Extract, Limits, Merge, Trust, extract};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else {
        return;
    };
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(512) {
        if block.iter().any(|byte| *byte != 0) {
            seal(block);
        }
    }
    let at = usize::from(cut) * 512;
    let (lower, upper) = archive.split_at(at.min(archive.len()));
    let limits = Limits {
        entries: 1000,
        bytes: 1 << 20,
    };

    let place = Place::new();
    if let Ok(mut merge) = Merge::new(&place.root()) {
        let lower = merge.apply(lower, &limits);
        let both = lower.and_then(|_| merge.apply(upper, &limits));
        if both.is_ok() {
            merge.finish().expect("what was applied can be finished");
        }
    }
    place.check();

    for trust in [Trust::Layer, Trust::Sealed] {
        let place = Place::new();
        let root = place.root();
        if trust == Trust::Layer {
            // What a layer below could have left.
            symlink("../outside", root.join("l")).expect("symlink");
        }
        for layer in [lower, upper] {
            let how = Extract {
                limits: limits.clone(),
                list: true,
                ..Extract::new(&root, trust)
            };
            let _ = extract(layer, &how);
        }
        place.check();
    }
});

/// Writes a header's checksum.
fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A root, and beside it what must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        // In memory where there is such a place: a fuzzer makes many.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let place = Self(dir.expect("a temporary directory"));
        fs::create_dir(place.root()).expect("mkdir");
        fs::create_dir(place.outside()).expect("mkdir");
        fs::write(place.outside().join("kept"), "kept").expect("write");
        place
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.path().join("root")
    }

    fn outside(&self) -> std::path::PathBuf {
        self.0.path().join("outside")
    }

    fn check(&self) {
        let names = |path: &Path| fs::read_dir(path).expect("readdir").count();
        assert_eq!((names(self.0.path()), names(&self.outside())), (2, 1));
        let kept = self.outside().join("kept");
        assert_eq!(fs::read(&kept).expect("read"), b"kept");
        let found = fs::symlink_metadata(&kept).expect("lstat");
        assert_eq!((found.mode() & 0o7777 & !0o022, found.nlink()), (0o644, 1));
    }
}
