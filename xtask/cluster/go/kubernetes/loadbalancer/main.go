// The load balancer of the cluster: what a cloud does for Services of type LoadBalancer. It hands
// out addresses of a pool; kube-proxy makes them answer.
package main

import (
	"context"
	"flag"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file with the address and credentials of the API server")
	pool := flag.String("pool", "10.245.0.0/16", "addresses that may be asked for by spec.loadBalancerIP")
	automatic := flag.String("automatic", "10.245.0.0/17", "part of the pool that is handed out where none is asked for")
	flag.Parse()
	if err := run(*kubeconfig, *pool, *automatic); err != nil {
		log.Fatal(err)
	}
}

func run(kubeconfig, poolText, automaticText string) error {
	pool, err := netip.ParsePrefix(poolText)
	if err != nil {
		return err
	}
	automatic, err := netip.ParsePrefix(automaticText)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](10*time.Millisecond, 5*time.Second))
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	enqueue := func(object any) {
		if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
			queue.Add(name)
		}
	}
	registration, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, object any) { enqueue(object) },
		DeleteFunc: enqueue,
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	// Before all Services are known, an address that is in use would look free.
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil
	}
	go func() {
		<-ctx.Done()
		queue.ShutDown()
	}()
	balancer := newBalancer(client, services.Lister(), pool, automatic)
	if err := balancer.adopt(); err != nil {
		return err
	}
	log.Printf("handing out addresses of %s", pool)
	for {
		name, shutdown := queue.Get()
		if shutdown {
			return nil
		}
		if err := balancer.reconcile(ctx, name); err != nil {
			log.Printf("%s: %v", name, err)
			queue.AddRateLimited(name)
		} else {
			queue.Forget(name)
		}
		queue.Done(name)
	}
}

// balancer is used by one goroutine only.
type balancer struct {
	client    kubernetes.Interface
	services  listers.ServiceLister
	addresses *addresses
}

func newBalancer(client kubernetes.Interface, services listers.ServiceLister, pool, automatic netip.Prefix) *balancer {
	return &balancer{client, services, newAddresses(pool, automatic)}
}

// adopt takes over the addresses that were handed out before this process started.
func (b *balancer) adopt() error {
	all, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, service := range all {
		if address, ok := current(service); ok && isOurs(service) {
			b.addresses.take(cache.MetaObjectToName(service), address)
		}
	}
	return nil
}

// isOurs says whether a Service wants an address of this load balancer.
func isOurs(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		service.Spec.LoadBalancerClass == nil && service.DeletionTimestamp == nil
}

func (b *balancer) reconcile(ctx context.Context, name cache.ObjectName) error {
	service, err := b.services.Services(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		b.addresses.release(name)
		return nil
	} else if err != nil {
		return err
	}
	if !isOurs(service) {
		b.addresses.release(name)
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) > 0 {
			return b.write(ctx, service, nil)
		}
		return nil
	}
	address, ok := b.addresses.get(name, service.Spec.LoadBalancerIP)
	if !ok {
		log.Printf("%s: no address: %q is taken or not of the pool, or the pool is exhausted", name, service.Spec.LoadBalancerIP)
		if len(service.Status.LoadBalancer.Ingress) > 0 {
			return b.write(ctx, service, nil)
		}
		return nil
	}
	if have, ok := current(service); ok && have == address {
		return nil
	}
	mode := corev1.LoadBalancerIPModeVIP
	log.Printf("%s: %s", name, address)
	return b.write(ctx, service, []corev1.LoadBalancerIngress{{IP: address.String(), IPMode: &mode}})
}

// current is the address that the status shows.
func current(service *corev1.Service) (netip.Addr, bool) {
	if len(service.Status.LoadBalancer.Ingress) != 1 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(service.Status.LoadBalancer.Ingress[0].IP)
	return address, err == nil
}

func (b *balancer) write(ctx context.Context, service *corev1.Service, ingress []corev1.LoadBalancerIngress) error {
	changed := service.DeepCopy()
	changed.Status.LoadBalancer.Ingress = ingress
	_, err := b.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
