// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package servicelb

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func service(ranges []string, families ...corev1.IPFamily) *corev1.Service {
	return &corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: families, LoadBalancerSourceRanges: ranges}}
}

func TestAPodForwardsTheFamiliesOfItsService(t *testing.T) {
	forward4 := corev1.Sysctl{Name: "net.ipv4.ip_forward", Value: "1"}
	forward6 := corev1.Sysctl{Name: "net.ipv6.conf.all.forwarding", Value: "1"}
	for name, one := range map[string]struct {
		service *corev1.Service
		ranges  string
		sysctls []corev1.Sysctl
	}{
		"IPv4":             {service(nil, corev1.IPv4Protocol), "0.0.0.0/0", []corev1.Sysctl{forward4}},
		"both":             {service(nil, corev1.IPv4Protocol, corev1.IPv6Protocol), "0.0.0.0/0,::/0", []corev1.Sysctl{forward4, forward6}},
		"both, from a few": {service([]string{"10.0.0.0/8"}, corev1.IPv4Protocol, corev1.IPv6Protocol), "10.0.0.0/8", []corev1.Sysctl{forward4, forward6}},
	} {
		if ranges, sysctls := access(one.service); ranges != one.ranges || !reflect.DeepEqual(sysctls, one.sysctls) {
			t.Errorf("%s: got %q, %v", name, ranges, sysctls)
		}
	}
}

func TestAServiceHasTheNodesAddressesOfItsFamilies(t *testing.T) {
	all := map[string]bool{"192.0.2.2": true, "fd00::2": true, "192.0.2.1": true, "fd00::1": true}
	for name, one := range map[string]struct {
		service *corev1.Service
		want    []string
	}{
		"IPv4":       {service(nil, corev1.IPv4Protocol), []string{"192.0.2.1", "192.0.2.2"}},
		"IPv6 first": {service(nil, corev1.IPv6Protocol, corev1.IPv4Protocol), []string{"fd00::1", "fd00::2", "192.0.2.1", "192.0.2.2"}},
	} {
		if got := ofFamilies(one.service, all); !reflect.DeepEqual(got, one.want) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
