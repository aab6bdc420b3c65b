package oauth

import "strings"

// Paths of the authorization server.
const (
	PathServer     = "/.well-known/oauth-authorization-server"
	PathResource   = "/.well-known/oauth-protected-resource"
	PathAuthorize  = "/oauth/authorize"
	PathToken      = "/oauth/token"
	PathRegister   = "/oauth/register"
	PathRevoke     = "/oauth/revoke"
	PathIntrospect = "/oauth/introspect"
	PathDevice     = "/oauth/device"
	PathKeys       = "/oauth/jwks"
)

// Server is the metadata of RFC 8414, with what RFC 8628, 9207 and client-ID
// metadata documents add.
type Server struct {
	Issuer          string   `json:"issuer"`
	Authorize       string   `json:"authorization_endpoint"`
	Token           string   `json:"token_endpoint"`
	Keys            string   `json:"jwks_uri"`
	Register        string   `json:"registration_endpoint"`
	Revoke          string   `json:"revocation_endpoint"`
	Introspect      string   `json:"introspection_endpoint"`
	Device          string   `json:"device_authorization_endpoint"`
	Scopes          []string `json:"scopes_supported"`
	Responses       []string `json:"response_types_supported"`
	ResponseModes   []string `json:"response_modes_supported"`
	Grants          []string `json:"grant_types_supported"`
	TokenMethods    []string `json:"token_endpoint_auth_methods_supported"`
	RevokeMethods   []string `json:"revocation_endpoint_auth_methods_supported"`
	Challenges      []string `json:"code_challenge_methods_supported"`
	ClientDocuments bool     `json:"client_id_metadata_document_supported"`
	IssuerParameter bool     `json:"authorization_response_iss_parameter_supported"`
	Documentation   string   `json:"service_documentation,omitempty"`
}

// ServerMetadata describes the server at origin.
func ServerMetadata(origin string) Server {
	return Server{
		Issuer: origin, Authorize: origin + PathAuthorize, Token: origin + PathToken, Keys: origin + PathKeys, Register: origin + PathRegister,
		Revoke: origin + PathRevoke, Introspect: origin + PathIntrospect, Device: origin + PathDevice,
		Scopes: Scopes, Responses: []string{"code"}, ResponseModes: []string{"query"}, Grants: []string{GrantCode, GrantRefresh, GrantDevice},
		TokenMethods: Methods, RevokeMethods: Methods, Challenges: []string{"S256"}, ClientDocuments: true, IssuerParameter: true,
	}
}

// Resource is the metadata of RFC 9728.
type Resource struct {
	Resource string   `json:"resource"`
	Name     string   `json:"resource_name"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
	Bearer   []string `json:"bearer_methods_supported"`
}

// ResourceMetadata describes one of Resources.
func ResourceMetadata(origin, resource string) Resource {
	return Resource{Resource: resource, Name: "Purser", Servers: []string{origin}, Scopes: Scopes, Bearer: []string{"header"}}
}

// Challenge is the WWW-Authenticate header of an answer 401 to a request for path;
// shown says whether the request had a credential.
func Challenge(origin, path string, shown bool) string {
	door := ""
	for _, r := range Resources(origin)[1:] {
		if Covers(r, origin, path) {
			door = strings.TrimPrefix(r, origin)
		}
	}
	text := `Bearer realm="purser", resource_metadata="` + origin + PathResource + door + `"`
	if shown {
		text += `, error="invalid_token"`
	}
	return text
}
