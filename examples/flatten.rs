//! Makes one tree of layers, as the library does it: `flatten STORE BLOB=DIFF-ID…`, the lowest
//! first. Prints where the tree is.
//!
//! This is also what the unpacking of images is measured by.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pybuild::model::Quiet;
use pybuild::net::{Client, Settings};
use pybuild::rootfs::image::{LayerBlob, flatten};
use pybuild::rootfs::oci::Access;
use pybuild::rootfs::{Mirrors, Tools};
use pybuild::sandbox::{self, Host};
use pybuild::store::Store;
use pybuild::sys::interrupt::Interrupt;

fn main() -> ExitCode {
    sandbox::become_child_if_asked();
    let mut args = std::env::args().skip(1);
    let layers = |args: std::iter::Skip<std::env::Args>| -> Option<Vec<LayerBlob>> {
        args.map(|arg| {
            let (blob, diff_id) = arg.rsplit_once('=')?;
            Some(LayerBlob {
                blob: blob.into(),
                diff_id: diff_id.parse().ok()?,
            })
        })
        .collect()
    };
    let Some((store, layers)) = args.next().zip(layers(args)) else {
        eprintln!("usage: flatten STORE BLOB=DIFF-ID…");
        return ExitCode::from(2);
    };
    match run(Path::new(&store), &layers) {
        Ok(tree) => {
            println!("{}", tree.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(store: &Path, layers: &[LayerBlob]) -> Result<PathBuf, Box<dyn Error>> {
    let store = Store::open(store)?;
    let tools = Tools {
        host: &Host::probe(&store.root().join("scratch"))?,
        client: &Client::new(Settings::default()),
        interrupt: &Interrupt::manual()?,
        store: &store,
        observer: &Quiet,
        mirrors: Mirrors::none(),
        mirror: None,
        access: &|| Ok(Access::default()),
        jobs: 1,
    };
    Ok(flatten(layers, None, &tools)?.tree)
}
