//go:build tools

// Package echo pins the backend of the conformance suite, which is built by its import path.
package echo

import _ "sigs.k8s.io/gateway-api/conformance/echo-basic"
