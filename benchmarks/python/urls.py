"""Django views in front of RQ or Celery, as ours and Express have them: one job, and a batch where there is a call for it."""

import importlib
import json
import os

from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

app = importlib.import_module(os.environ["APP"])


def _job(data):
    return data["idempotencyKey"], data["payload"]["value"]


@csrf_exempt
def create(request):
    return JsonResponse({"id": app.submit(*_job(json.loads(request.body)))}, status=202)


@csrf_exempt
def create_batch(request):
    jobs = [_job(data) for data in json.loads(request.body)["jobs"]]
    return JsonResponse({"ids": app.submit_many(jobs)}, status=202)


urlpatterns = [path("jobs", create), path("jobs/batch", create_batch)]
