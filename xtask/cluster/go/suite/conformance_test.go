// Package suite runs the conformance suite of Gateway API, unmodified. Options are the flags of the
// suite itself.
package suite

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)

	// The clients hold themselves back to a few requests a second by default, which would make the
	// suite wait for itself.
	options.RestConfig.QPS, options.RestConfig.Burst = 500, 1000
	options.ClientOptions.Scheme = options.Client.Scheme()
	var err error
	options.Client, err = client.New(options.RestConfig, options.ClientOptions)
	require.NoError(t, err, "cannot make a client")
	options.Clientset, err = kubernetes.NewForConfig(options.RestConfig)
	require.NoError(t, err, "cannot make a client")

	conformance.RunConformanceWithOptions(t, options)
}
