use std::io::{Cursor, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::library::store::{create_dirs, parent, read_all, sim::SimStore, write_new};

const LIMITS: Limits = Limits { bytes_max: 100 << 20, entries_max: 50, ratio_max: 10 };

fn unpack_with(files: &[(&str, &[u8])], limits: Limits) -> Result<SimStore, UnpackError> {
    let disk = SimStore::new();
    create_dirs(&disk, "p").expect("makes");
    for (path, bytes) in files {
        let path = format!("p/{path}");
        create_dirs(&disk, parent(&path)).expect("makes");
        write_new(&disk, &path, bytes).expect("writes");
    }
    create_dirs(&disk, "out").expect("makes");
    unpack(&disk, "p", "out", &Archives::ALL, limits, &Cancel::default()).map(|()| disk)
}

fn unpacked(name: &str, archive: &[u8]) -> Result<SimStore, UnpackError> {
    unpack_with(&[(name, archive)], LIMITS)
}

fn read(disk: &SimStore, path: &str) -> Option<Vec<u8>> {
    read_all(disk, &format!("out/{path}"), 1 << 30).expect("reads")
}

fn zipped(write: impl FnOnce(&mut ::zip::ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    write(&mut writer);
    writer.finish().expect("writes").into_inner()
}

fn options() -> ::zip::write::SimpleFileOptions {
    ::zip::write::SimpleFileOptions::default()
}

fn one_in_zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    zipped(|zip| {
        zip.start_file(name, options()).expect("writes");
        zip.write_all(bytes).expect("writes");
    })
}

fn header(name: &[u8], size: u64, kind: ::tar::EntryType) -> ::tar::Header {
    let mut header = ::tar::Header::new_gnu();
    header.as_gnu_mut().expect("is one").name[..name.len()].copy_from_slice(name);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

fn tarred(write: impl FnOnce(&mut ::tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    write(&mut builder);
    compress_to_vec(&builder.into_inner().expect("writes")[..], CompressionLevel::Fastest)
}

fn one_in_tar(name: &[u8], kind: ::tar::EntryType) -> Vec<u8> {
    tarred(|tar| tar.append(&header(name, 1, kind), &b"x"[..]).expect("writes"))
}

#[test]
fn plain_files_are_copied_d9() {
    let files: [(&str, &[u8]); 3] = [("version.ini", b"v"), ("a/b", &[1; 300_000]), ("empty", b"")];
    let disk = unpack_with(&files, LIMITS).expect("unpacks");
    for (path, bytes) in files {
        assert_eq!(read(&disk, path).as_deref(), Some(bytes));
    }
}

#[test]
fn zip_is_unpacked_d9() {
    let long = "long/".repeat(60) + "name";
    let archive = zipped(|zip| {
        zip.add_directory("empty dir/", options()).expect("writes");
        zip.start_file("bin/run", options().unix_permissions(0o755)).expect("writes");
        zip.write_all(&[1, 2, 3].repeat(100_000)).expect("writes");
        let stored = options().compression_method(::zip::CompressionMethod::Stored);
        zip.start_file("stored ä", stored).expect("writes");
        zip.write_all(b"stored").expect("writes");
        zip.start_file("empty", options()).expect("writes");
        zip.start_file(&*long, options().large_file(true)).expect("writes");
        zip.write_all(b"wide").expect("writes");
        zip.set_comment("PK\u{5}\u{6} a comment that looks like an end").expect("short enough");
    });
    let disk = unpack_with(&[("a/x.ZIP", &archive), ("plain", b"p")], LIMITS).expect("unpacks");
    assert_eq!(read(&disk, "bin/run"), Some([1, 2, 3].repeat(100_000)));
    assert!(disk.metadata("out/bin/run").expect("looks").expect("is there").executable);
    assert_eq!(read(&disk, "stored ä").as_deref(), Some(&b"stored"[..]));
    assert_eq!(read(&disk, "empty"), Some(Vec::new()));
    assert_eq!(read(&disk, &long).as_deref(), Some(&b"wide"[..]));
    assert_eq!(read(&disk, "plain").as_deref(), Some(&b"p"[..]));
    assert!(disk.list("out/empty dir").expect("is there").is_empty());
}

#[test]
fn tar_zst_is_unpacked_d9() {
    let long = "long/".repeat(60) + "name";
    let archive = tarred(|tar| {
        let mut run = header(b"./bin/run", 5, ::tar::EntryType::Regular);
        run.set_mode(0o755);
        run.set_cksum();
        tar.append(&run, &b"hello"[..]).expect("writes");
        tar.append(&header(b"./", 0, ::tar::EntryType::Directory), &b""[..]).expect("writes");
        tar.append(&header(b"dir/", 0, ::tar::EntryType::Directory), &b""[..]).expect("writes");
        // By the GNU way of long names, then by pax.
        tar.append_data(&mut header(b"", 600, ::tar::EntryType::Regular), &long, &[7; 600][..]).expect("writes");
        tar.append_pax_extensions([("path", &b"by/pax"[..]), ("size", b"3")]).expect("writes");
        tar.append(&header(b"ignored", 3, ::tar::EntryType::Regular), &b"pax"[..]).expect("writes");
    });
    // Two frames, one after the other.
    let both = [&compress_to_vec(&[][..], CompressionLevel::Fastest)[..], &archive].concat();
    for archive in [archive, both] {
        let disk = unpacked("x.tar.zst", &archive).expect("unpacks");
        assert_eq!(read(&disk, "bin/run").as_deref(), Some(&b"hello"[..]));
        assert!(disk.metadata("out/bin/run").expect("looks").expect("is there").executable);
        assert_eq!(read(&disk, &long), Some(vec![7; 600]));
        assert_eq!(read(&disk, "by/pax").as_deref(), Some(&b"pax"[..]));
        assert!(disk.list("out/dir").expect("is there").is_empty());
    }
}

#[test]
fn no_path_leads_out_d9() {
    for name in ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:/x", "a/./b", "nul", ".banyan-installed", ".BANYAN/x"] {
        let zip = unpacked("x.zip", &one_in_zip(name, b"x"));
        assert!(matches!(zip, Err(UnpackError::Path(_) | UnpackError::Reserved(_))), "{name}: {zip:?}");
        let tar = unpacked("x.tar.zst", &one_in_tar(name.as_bytes(), ::tar::EntryType::Regular));
        assert!(matches!(tar, Err(UnpackError::Path(_) | UnpackError::Reserved(_))), "{name}: {tar:?}");
    }
}

#[test]
fn links_and_devices_are_refused_d9() {
    use ::tar::EntryType as T;
    for kind in [T::Symlink, T::Link, T::Char, T::Block, T::Fifo, T::GNUSparse] {
        let outcome = unpacked("x.tar.zst", &one_in_tar(b"link", kind));
        assert!(matches!(outcome, Err(UnpackError::Kind(_))), "{kind:?}: {outcome:?}");
    }
    let archive = zipped(|zip| zip.add_symlink("link", "/etc/passwd", options()).expect("writes"));
    assert!(matches!(unpacked("x.zip", &archive), Err(UnpackError::Kind(_))));
}

#[test]
fn bombs_are_stopped_d9() {
    let zeros = vec![0; 80 << 20];
    let zip = one_in_zip("zeros", &zeros);
    assert!(matches!(unpacked("x.zip", &zip), Err(UnpackError::TooMuch(_, "bytes"))));
    let tar = tarred(|tar| {
        tar.append(&header(b"zeros", zeros.len() as u64, ::tar::EntryType::Regular), &zeros[..]).expect("writes");
    });
    assert!(matches!(unpacked("x.tar.zst", &tar), Err(UnpackError::TooMuch(_, "bytes"))));
    let small = Limits { bytes_max: 99, ..LIMITS };
    assert!(matches!(unpack_with(&[("a", &[1; 50]), ("b", &[1; 50])], small), Err(UnpackError::TooMuch(99, _))));
    let many = zipped(|zip| {
        for number in 0..51 {
            zip.start_file(format!("{number}"), options()).expect("writes");
        }
    });
    assert!(matches!(unpacked("x.zip", &many), Err(UnpackError::TooMuch(50, _))));
    let long_name = tarred(|tar| {
        let name = vec![b'x'; 100_000];
        tar.append(&header(b"././@LongLink", 100_000, ::tar::EntryType::GNULongName), &name[..]).expect("writes");
    });
    assert!(matches!(unpacked("x.tar.zst", &long_name), Err(UnpackError::Archive { .. })));
}

#[test]
fn colliding_and_doubled_names_are_refused_d9() {
    let outcome = unpack_with(&[("x.zip", &one_in_zip("README", b"x")), ("readme", b"y")], LIMITS);
    assert!(matches!(outcome, Err(UnpackError::Collision(_))), "{outcome:?}");
    let outcome = unpack_with(&[("x.zip", &one_in_zip("same", b"x")), ("same", b"y")], LIMITS);
    assert!(matches!(outcome, Err(UnpackError::Store(StoreError::Exists(_)))), "{outcome:?}");
}

#[test]
fn a_binary_number_in_a_short_field_is_an_error_d9() {
    for (place, is_good) in [(148, false), (100, true)] {
        let mut block = *header(b"name", 0, ::tar::EntryType::Regular).as_bytes();
        block[place..place + 8].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 1]);
        if is_good {
            // A mode of no meaning makes no program.
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        }
        let archive = compress_to_vec(&block[..], CompressionLevel::Fastest);
        assert_eq!(unpacked("a.tar.zst", &archive).is_ok(), is_good, "{place}");
    }
}

#[test]
fn damaged_archives_are_errors_and_never_panic_d9() {
    let zip = one_in_zip("a/b", &b"some content ".repeat(40));
    let tar = one_in_tar(b"a/b", ::tar::EntryType::Regular);
    for (name, archive) in [("x.zip", zip), ("x.tar.zst", tar)] {
        for at in 0..archive.len() {
            let mut bytes = archive.clone();
            bytes[at] ^= 0x41;
            // Some bits do not matter; none may panic, or put anything elsewhere.
            let _outcome = unpacked(name, &bytes);
            let cut = unpacked(name, &archive[..at]);
            assert!(name.ends_with("zst") || cut.is_err(), "{name} cut to {at}");
        }
    }
    for bytes in [&b""[..], b"PK", &[0xff; 600]] {
        assert!(unpacked("x.zip", bytes).is_err());
    }
    assert!(unpacked("x.tar.zst", &[0xff; 600]).is_err());
    let mut zip = one_in_zip("a", &b"0123456789".repeat(9));
    let at = zip.windows(4).position(|four| four == b"PK\x01\x02").expect("has a directory") + 16;
    zip[at] ^= 1;
    assert!(matches!(unpacked("x.zip", &zip), Err(UnpackError::Archive { .. })), "a wrong sum");
}
