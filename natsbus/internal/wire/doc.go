// Package wire is the wire format of natsbus: what a message is as bytes, and where it
// is sent to. It needs no connection.
//
// A message is a [Frame]: a head, and right behind it a chunk of a [Body]. The head is a
// CBOR map with small integers for keys, see head.go, in which zero values are left out.
// A body is the CBOR of a [Request] or an [Answer], above 4 KiB compressed with zstd. It
// is sent in chunks; each says at which offset of the body it begins. The first also has
// the lengths, and the last of several the SHA-256 of all that was sent.
//
// # Compatibility
//
// Unknown fields are ignored, in heads and in bodies, and those that are missing are
// zero. testdata/v1 has a frame of each kind, which every later version must understand.
package wire
