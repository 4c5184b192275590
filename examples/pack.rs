//! Packs a directory, as the library packs a prefix: `pack TREE OUT.tar.{gz,xz,zst} [THREADS]`.
//!
//! This is also what packing is measured by.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use pybuild::archive::{Codec, Pack, Packed, pack};
use pybuild::sys::interrupt::Interrupt;

/// No member is newer: 2021-02-19, when `CPython` 3.9.2 was released.
const EPOCH: i64 = 1_613_692_800;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [tree, out, threads @ ..] = &args[..] else {
        eprintln!("usage: pack TREE OUT.tar.{{gz,xz,zst}} [THREADS]");
        return ExitCode::from(2);
    };
    match run(tree, out, threads.first()) {
        Ok(packed) => {
            let Packed {
                digest,
                size,
                unpacked,
                entries,
                directories: _,
            } = packed;
            println!("{digest}  {out}: {entries} members, {unpacked} bytes in {size}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(tree: &str, out: &str, threads: Option<&String>) -> Result<Packed, Box<dyn Error>> {
    let all = [Codec::Gzip, Codec::Xz, Codec::Zstd];
    let named = |codec: &Codec| out.ends_with(&format!(".tar.{}", codec.extension()));
    let codec = all.into_iter().find(named);
    let threads = match threads {
        Some(threads) => threads.parse()?,
        None => std::thread::available_parallelism()?.get(),
    };
    let how = Pack {
        codec: codec.ok_or("no such compression")?,
        epoch: EPOCH,
        threads,
    };
    let mut file = File::create(out)?;
    let interrupt = Interrupt::manual()?;
    Ok(pack(Path::new(tree), &how, &mut file, &interrupt)?)
}
