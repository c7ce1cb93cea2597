"""HTTP for recognitions: read the request, call one selector, answer."""

from uuid import UUID

from django.http import HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core import ranges, seats, wire
from apps.core.wire import IF_NONE_MATCH, PAGING, PROBLEM, fields, header, plain
from apps.recognitions import asking, links, selectors, showing
from apps.recognitions import serializers as shapes
from apps.tenants import doors
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope
from headrace.recognitions.photos import MEDIA_TYPES

_MEMBERS = fields(asking.MEMBERS)
_NUMBER = {"type": "integer", "minimum": 0, "maximum": asking.MOST_NUMBER}
_LINK = {"type": "string", "pattern": links.FORM}


class Recognitions(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="list_recognitions",
        description="Recognitions by `recognition_id`, which is always told; with a range of days"
        " by these first. Without `fields`: what they have of their own, not what belongs to them.",
        parameters=[
            OpenApiParameter("recognized_on", OpenApiTypes.DATE, description="this day"),
            OpenApiParameter("recognized_on_from", OpenApiTypes.DATE, description="that or later"),
            OpenApiParameter("recognized_on_to", OpenApiTypes.DATE, description="that or earlier"),
            OpenApiParameter(
                "recognized_on_missing",
                {"type": "boolean", "enum": [True]},
                description="those of no known day",
            ),
            OpenApiParameter(
                "batch_id",
                {
                    "type": "array",
                    "items": {"type": "string", "maxLength": 64},
                    "minItems": 1,
                },
                description="of these loads",
            ),
            _MEMBERS,
            *PAGING,
        ],
        responses={
            200: shapes.RecognitionPage,
            **dict.fromkeys((400, 401, 404, 409, 503), PROBLEM),
        },
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        wanted = asking.page(request.query_params)
        with seats.Seat(tenant):  # what belongs to a thousand of them is much
            page = selectors.page(tenant, wanted)
        return HttpResponse(page, content_type="application/json")


class Recognition(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="get_recognition",
        description="A recognition with its photos, the menu, the check and what a model has seen."
        " Its ETag changes when its links do, before they expire.",
        parameters=[
            OpenApiParameter("recognition_id", _NUMBER, OpenApiParameter.PATH),
            _MEMBERS,
            IF_NONE_MATCH,
        ],
        responses={
            200: shapes.RecognitionRow,
            304: OpenApiResponse(description="The recognition is as its ETag says."),
            **dict.fromkeys((400, 401, 404, 503), PROBLEM),
        },
    )
    def get(self, request: Request, tenant_id: UUID, recognition_id: int) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        members = asking.one(request.query_params)
        return wire.tagged(request, selectors.one(tenant, recognition_id, members))


class Photo(APIView):
    """What a link shows: its signature is the key."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="show_photo",
        description="The bytes of a photo, by a link that a recognition told. It needs no key, and"
        " is good for a while; a tenant that is suspended has none that is. A store that can show"
        " objects by itself is redirected to.",
        parameters=[
            OpenApiParameter("link", _LINK, OpenApiParameter.PATH),
            header("Range", "bytes=N- or bytes=N-M"),
            header("If-Range", "the ETag of the answer that broke"),
            IF_NONE_MATCH,
        ],
        responses={
            **dict.fromkeys(
                ((status, kind) for kind in MEDIA_TYPES.values() for status in (200, 206)),
                OpenApiTypes.BINARY,
            ),
            302: OpenApiResponse(description="Its place in the store, for some seconds."),
            304: OpenApiResponse(description="The photo is what the ETag says."),
            **dict.fromkeys((400, 403, 404, 414, 416, 503), PROBLEM),
        },
    )
    def get(self, request: Request, link: str) -> HttpResponseBase:
        named = links.read(link)
        doors.check_reader(named.tenant)
        photo = selectors.photo(named)
        content = showing.content(named, photo)
        if wire.is_known(request, content.etag):
            return wire.unchanged(content.etag)
        if elsewhere := showing.elsewhere(named, photo):
            return HttpResponseRedirect(elsewhere)
        asked = plain(request)
        return seats.seated(asked, named.tenant, lambda: ranges.answer(asked, content))
