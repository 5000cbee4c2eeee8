"""What a run found, as one HTML page."""

from weightatlas.report.data import Curves as Curves
from weightatlas.report.data import Generated as Generated
from weightatlas.report.data import Headline as Headline
from weightatlas.report.data import LatentMap as LatentMap
from weightatlas.report.data import ReportData as ReportData
from weightatlas.report.data import Scatter as Scatter
from weightatlas.report.data import SizeCurve as SizeCurve
from weightatlas.report.data import load_data as load_data
from weightatlas.report.data import of_run as of_run
from weightatlas.report.data import save_data as save_data
from weightatlas.report.page import write_report as write_report
