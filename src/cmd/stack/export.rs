//! `pybuild stack export`: an image of a stack for other tools.

use std::path::{Path, PathBuf};

use crate::archive::Codec;
use crate::cli::{ExportFormat, Global, ImageKind, StackExport};
use crate::cmd::delivery::Direct;
use crate::cmd::session::{Opened, Session, jobs, manifest};
use crate::cmd::steward::{self, Outlet};
use crate::cmd::{Done, Failure, registries};
use crate::model::{Bytes, Elapsed, Sha256};
use crate::rootfs::export::{About, Compression, Exporter, LAYOUT};
use crate::rootfs::{Image, Rootfs};
use crate::sandbox::Launcher;
use crate::store::STACKS;
use crate::sys::fs as sysfs;
use crate::ui::{self, Align, Table};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A directory in the OCI image layout.
    Layout,
    /// A tarball, compressed so.
    Tarball(Option<Codec>),
}

impl Form {
    /// As it is asked for, else as the name of the output says.
    fn of(output: &Path, asked: Option<ExportFormat>) -> Self {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let codecs = [Codec::Gzip, Codec::Xz, Codec::Zstd].into_iter();
        let ends = |codec: &Codec| name.ends_with(&format!(".tar.{}", codec.extension()));
        let codec = codecs.into_iter().find(ends);
        match asked {
            Some(ExportFormat::Tar) => Self::Tarball(codec),
            None if codec.is_some() || name.ends_with(".tar") => Self::Tarball(codec),
            Some(ExportFormat::Oci) | None => Self::Layout,
        }
    }
}

/// What was written.
struct Written {
    digest: Sha256,
    size: u64,
    layers: usize,
}

/// Prepares the stack, if need be, and writes the image.
pub(super) fn run(global: &Global, args: &StackExport) -> Result<Done, Failure> {
    let manifest = manifest(&args.stack, &args.sources)?;
    let form = Form::of(&args.output, args.format);
    // Whoever started this has the rights to look, and has looked.
    let direct = match (steward::steward(), form) {
        (Some(_), _) => Direct::new(&args.output),
        (None, Form::Layout) => Direct::whole(&args.output)?,
        (None, Form::Tarball(_)) => Direct::file(&args.output)?,
    };
    registries::ahead(global, [&manifest], &args.sources)?;
    let outlet = Outlet::Direct(&direct);
    let session = match Session::open_with(global, outlet, &Launcher::default())? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    // Nobody removes what is being packed.
    let (observer, interrupt) = (session.observer(), &session.interrupt);
    let _stacks = session.store.lock_shared(STACKS, observer, interrupt)?;
    let rootfs = session.rootfs(&manifest, &args.sources)?;
    let (kind, image) = match args.image {
        ImageKind::Build => ("build", &rootfs.build),
        ImageKind::Run => ("run", &rootfs.run),
    };
    let scratch = session.store.scratch()?;
    let exporter = Exporter {
        scratch: scratch.path(),
        compression: Compression::Gzip,
        threads: jobs(None),
        observer: session.observer(),
        interrupt: &session.interrupt,
    };
    let written = match form {
        Form::Layout => layout(&session, &exporter, image, &rootfs.about(kind))?,
        Form::Tarball(codec) => tarball(&session, &exporter, image, codec, &args.output)?,
    };
    session.delivery.finish()?;
    report(
        global,
        args,
        &session,
        (&rootfs, kind, image, form),
        &written,
    )?;
    Ok(Done::Here)
}

fn layout(
    session: &Session,
    exporter: &Exporter<'_>,
    image: &Image,
    about: &About<'_>,
) -> Result<Written, Failure> {
    let packed = exporter.image(image, about)?;
    let blob = |digest: &Sha256| PathBuf::from(format!("blobs/sha256/{digest}"));
    let mut size = 0;
    for layer in &packed.layers {
        let file = sysfs::open(&layer.path)?;
        session.delivery.put(&blob(&layer.layered.digest), &file)?;
        size += layer.layered.size;
    }
    let document = |to: &Path, bytes: &[u8]| -> Result<(), Failure> {
        let path = exporter.scratch.join("document");
        sysfs::write_atomically(&path, bytes)?;
        Ok(session.delivery.put(to, &sysfs::open(&path)?)?)
    };
    for bytes in [&packed.config, &packed.manifest] {
        document(&blob(&Sha256::of(bytes)), bytes)?;
        size += bytes.len() as u64;
    }
    document(Path::new("oci-layout"), LAYOUT)?;
    // Without it, it is no layout: it comes last.
    document(Path::new("index.json"), &packed.index(about))?;
    Ok(Written {
        digest: packed.digest(),
        size,
        layers: packed.layers.len(),
    })
}

fn tarball(
    session: &Session,
    exporter: &Exporter<'_>,
    image: &Image,
    codec: Option<Codec>,
    output: &Path,
) -> Result<Written, Failure> {
    let path = exporter.scratch.join("tarball");
    let mut file = sysfs::create_new(&path)?;
    let packed = exporter.tarball(image, codec, &mut file)?;
    let name = output.file_name().map_or(output, Path::new);
    session.delivery.put(name, &sysfs::open(&path)?)?;
    Ok(Written {
        digest: packed.digest,
        size: packed.size,
        layers: image.layers.len(),
    })
}

fn report(
    global: &Global,
    args: &StackExport,
    session: &Session,
    (rootfs, kind, image, form): (&Rootfs, &str, &Image, Form),
    written: &Written,
) -> Result<(), Failure> {
    let Written {
        digest,
        size,
        layers,
    } = written;
    let what = match form {
        Form::Layout => "OCI layout",
        Form::Tarball(_) => "tarball",
    };
    if global.json {
        ui::print_json(&serde_json::json!({
            "stack": rootfs.stack,
            "image": kind,
            "digest": image.digest,
            "output": args.output,
            "format": match form { Form::Layout => "oci", Form::Tarball(_) => "tar" },
            "sha256": digest,
            "size": size,
            "layers": layers,
        }))?;
        return Ok(());
    }
    let mut table = Table::new([Align::Left, Align::Left]);
    let layers = match layers {
        1 => "1 layer".to_owned(),
        many => format!("{many} layers"),
    };
    let named = match form {
        Form::Layout => "manifest",
        Form::Tarball(_) => "SHA-256",
    };
    for (name, value) in [
        (what, args.output.display().to_string()),
        (
            "of",
            format!("{}, {kind} image {}", rootfs.stack, image.digest),
        ),
        ("size", format!("{}, {layers}", Bytes(*size))),
        (named, digest.to_string()),
    ] {
        table.row([name.to_owned(), value]);
    }
    ui::print(&table.render())?;
    ui::print(&format!("in all {}\n", Elapsed(session.started.elapsed())))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_output_says_what_it_is_to_be() {
        use ExportFormat::{Oci, Tar};
        let table = [
            ("out", None, Form::Layout),
            ("out/", None, Form::Layout),
            ("a.tar", None, Form::Tarball(None)),
            ("a.b/c.tar.gz", None, Form::Tarball(Some(Codec::Gzip))),
            ("a.tar.xz", None, Form::Tarball(Some(Codec::Xz))),
            ("a.tar.zst", None, Form::Tarball(Some(Codec::Zstd))),
            ("a.tar.bz2", None, Form::Layout),
            ("a.tar.gz", Some(Oci), Form::Layout),
            ("a", Some(Tar), Form::Tarball(None)),
            ("a.tar.xz", Some(Tar), Form::Tarball(Some(Codec::Xz))),
        ];
        for (output, asked, form) in table {
            assert_eq!(Form::of(Path::new(output), asked), form, "{output}");
        }
    }
}
