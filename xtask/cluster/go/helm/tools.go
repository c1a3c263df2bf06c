//go:build tools

// Package helm pins Helm, which is built by its import path.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
