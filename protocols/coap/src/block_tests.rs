use super::*;
use crate::message::{Code, request, uint, with_code};
use coap_lite::CoapOption;

fn uploads() -> Uploads {
    Uploads::new(UploadLimits {
        bytes_max: 4096,
        count_max: 2,
        lifetime: Duration::from_secs(247),
        szx_max: 6,
    })
}

fn block(number: u32, more: bool, szx: u8) -> Block {
    Block { number, more, szx }
}

fn put(path: &str, tag: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = request(Code::PUT, [path]);
    packet.add_option(CoapOption::Unknown(number::REQUEST_TAG), tag.to_vec());
    packet.payload = payload.to_vec();
    packet.to_bytes_unlimited().unwrap()
}

fn send(uploads: &mut Uploads, now: Instant, path: &str, tag: &[u8], payload: &[u8], block: Block) -> Upload {
    uploads.receive(now, &Datagram::parse(&put(path, tag, payload)).unwrap(), block)
}

#[test]
fn rfc7959_2_2_a_block_number_has_20_bits() {
    for (number, len) in [(0, 1), (15, 1), (16, 2), (4095, 2), (4096, 3), (Block::NUMBER_MAX, 3)] {
        let value = uint(block(number, true, 6).value());
        assert_eq!(value.len(), len);
        assert_eq!(Block::parse(&value), Ok(block(number, true, 6)));
    }
    assert_eq!(Block::parse(&[]), Ok(block(0, false, 0)));
    assert_eq!(Block::parse(&[0x07]), Err(BlockError::Reserved));
    assert_eq!(Block::parse(&[0, 0, 0, 1]), Err(BlockError::TooLong));
}

#[test]
fn rfc7959_2_5_blocks_in_order_make_the_body() {
    let (mut uploads, now) = (uploads(), Instant::now());
    for number in 0..3 {
        let step = send(&mut uploads, now, "a", b"", &[number as u8; 16], block(number, true, 0));
        assert_eq!(step, Upload::Continue(block(number, true, 0)));
    }
    let Upload::Complete(body, last) = send(&mut uploads, now, "a", b"", b"end", block(3, false, 0)) else {
        panic!()
    };
    assert_eq!((body.len(), last), (51, block(3, false, 0)));
    assert!(uploads.is_empty());
}

#[test]
fn rfc7959_2_9_2_a_gap_or_an_orphan_is_incomplete() {
    let (mut uploads, now) = (uploads(), Instant::now());
    assert_eq!(send(&mut uploads, now, "a", b"", b"end", block(3, false, 0)), Upload::Incomplete);
    send(&mut uploads, now, "a", b"", &[0; 16], block(0, true, 0));
    assert_eq!(send(&mut uploads, now, "a", b"", &[0; 16], block(5, true, 0)), Upload::Incomplete);
    send(&mut uploads, now, "a", b"", &[0; 16], block(0, true, 0));
    let late = now + Duration::from_secs(247);
    assert_eq!(
        send(&mut uploads, late, "a", b"", &[0; 16], block(1, true, 0)),
        Upload::Incomplete,
        "expired"
    );
    assert_eq!(send(&mut uploads, late, "a", b"", &[0; 15], block(0, true, 0)), Upload::Malformed);
}

#[test]
fn rfc7959_2_9_3_too_large_is_said_with_the_limit() {
    let (mut uploads, now) = (uploads(), Instant::now());
    for number in 0..4 {
        send(&mut uploads, now, "a", b"", &[0; 1024], block(number, true, 6));
    }
    assert_eq!(send(&mut uploads, now, "a", b"", b"x", block(4, false, 6)), Upload::TooLarge(4096));
    let mut packet = request(Code::PUT, ["a"]);
    add_uint(&mut packet, number::SIZE1, 5000);
    packet.payload = vec![0; 16];
    let bytes = packet.to_bytes_unlimited().unwrap();
    let step = uploads.receive(now, &Datagram::parse(&bytes).unwrap(), block(0, true, 0));
    assert_eq!(step, Upload::TooLarge(4096), "announced by Size1");
}

#[test]
fn rfc9175_3_request_tags_keep_two_uploads_apart() {
    let (mut uploads, now) = (uploads(), Instant::now());
    send(&mut uploads, now, "a", b"1", &[1; 16], block(0, true, 0));
    send(&mut uploads, now, "a", b"2", &[2; 16], block(0, true, 0));
    let Upload::Complete(first, _) = send(&mut uploads, now, "a", b"1", &[1], block(1, false, 0)) else {
        panic!()
    };
    let Upload::Complete(second, _) = send(&mut uploads, now, "a", b"2", &[2], block(1, false, 0)) else {
        panic!()
    };
    assert_eq!((&first[..], &second[..]), (&[1; 17][..], &[2; 17][..]));
}

#[test]
fn uploads_are_bounded_in_number() {
    let (mut uploads, now) = (uploads(), Instant::now());
    for (seconds, path) in ["a", "b", "c"].into_iter().enumerate() {
        send(&mut uploads, now + Duration::from_secs(seconds as u64), path, b"", &[0; 16], block(0, true, 0));
    }
    assert_eq!(uploads.under_way.len(), 2);
    assert_eq!(send(&mut uploads, now, "a", b"", b"", block(1, false, 0)), Upload::Incomplete);
}

#[test]
fn rfc7959_2_3_the_server_may_ask_for_smaller_blocks() {
    let limits = UploadLimits { bytes_max: 4096, count_max: 2, lifetime: Duration::from_secs(1), szx_max: 2 };
    let (mut uploads, now) = (Uploads::new(limits), Instant::now());
    let step = send(&mut uploads, now, "a", b"", &[0; 1024], block(0, true, 6));
    assert_eq!(step, Upload::Continue(block(0, true, 2)));
    let step = send(&mut uploads, now, "a", b"", &[0; 64], block(16, false, 2));
    assert!(matches!(step, Upload::Complete(body, _) if body.len() == 1088));
}

#[test]
fn rfc7959_2_4_blocks_of_a_response() {
    let body = Bytes::from((0..100u8).collect::<Vec<_>>());
    assert_eq!(serve(&body, None, 6), Some(Piece { payload: body.clone(), block: None }));
    let first = serve(&body, None, 2).unwrap();
    assert_eq!((first.payload.len(), first.block), (64, Some(block(0, true, 2))));
    let last = serve(&body, Some(block(1, false, 2)), 6).unwrap();
    assert_eq!((&last.payload[..], last.block), (&body[64..], Some(block(1, false, 2))));
    assert_eq!(serve(&body, Some(block(2, false, 2)), 6), None, "behind the end");
    assert_eq!(serve(&body, Some(block(Block::NUMBER_MAX, false, 6)), 0), None);
    let shrunk = serve(&body, Some(block(0, false, 6)), 0).unwrap();
    assert_eq!((shrunk.payload.len(), shrunk.block), (16, Some(block(0, true, 0))));
    assert_eq!(serve(&Bytes::new(), Some(block(0, false, 2)), 6).unwrap().block, Some(block(0, false, 2)));
}

#[test]
fn a_body_goes_out_and_comes_in_whole() {
    let bytes = Bytes::from((0..3000u32).map(|i| i as u8).collect::<Vec<_>>());
    let (mut body, mut uploads, now) = (Body::new(bytes.clone(), 6), uploads(), Instant::now());
    let mut sent = 0;
    loop {
        let piece = body.piece();
        sent += 1;
        match send(&mut uploads, now, "a", b"", &piece.payload, piece.block.unwrap()) {
            // The peer shrinks the blocks after the first.
            Upload::Continue(answer) => assert!(body.advance(Some(Block { szx: 3, ..answer }))),
            Upload::Complete(whole, _) => break assert_eq!(whole, bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sent, 1 + (3000 - 1024usize).div_ceil(128));

    let mut download = Download::default();
    let mut wanted = block(0, false, 4);
    loop {
        let piece = serve(&bytes, Some(wanted), 6).unwrap();
        let mut packet = with_code(Code::CONTENT);
        packet.add_option(CoapOption::ETag, vec![1]);
        piece.block.unwrap().add_to(&mut packet, number::BLOCK2);
        packet.payload = piece.payload.to_vec();
        let response = packet.to_bytes_unlimited().unwrap();
        match download.receive(&Datagram::parse(&response).unwrap(), 4096) {
            Progress::Next(block) => wanted = block,
            Progress::Complete(whole) => break assert_eq!(whole, bytes),
            other => panic!("{other:?}"),
        }
    }
}
