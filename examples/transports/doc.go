// Package transports has transports, decorators and buses that are as small as they can
// be and keep the contract of package platform. Each is a test that runs the battery, and
// may be copied. It is a module of its own, so that who imports platform does not get what
// gRPC and msgpack need.
package transports
